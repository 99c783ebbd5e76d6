"""Several processes accept: for the caller they are one server, whichever of them takes the request, and whichever dies."""

import fcntl
import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psutil
import pytest
from bench.signed import Signed, sign_invocations
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.support import deploy
from tests.support.server_process import ServerProcess, count_states

from tarry.bootstrap.directory import DataDirectory

ACCEPTORS = 2
BUCKET = "acceptors"
TWO = {"TARRY_SERVER__ACCEPTORS": str(ACCEPTORS)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server") / "data", settings=TWO) as running:
        deploy.bucket(running, BUCKET)
        deploy.endpoint(running, "answering", BUCKET)
        yield running


def acceptors(server: ServerProcess) -> list[psutil.Process]:
    return [each for each in psutil.Process(server.pid).children() if "tarry.bootstrap.acceptor" in each.cmdline()]


def connections_of(process: psutil.Process, server: ServerProcess) -> int:
    port = urlsplit(server.url).port
    return sum(each.laddr.port == port and each.status == "ESTABLISHED" for each in process.net_connections("tcp"))


def signed(server: ServerProcess, endpoint: str, count: int = 1) -> list[Signed]:
    return sign_invocations(DataDirectory(server.data_dir), endpoint, [f"s3://{BUCKET}/in"] * count)


class Raw:
    """One connection that is kept."""

    def __init__(self, server: ServerProcess, timeout_s: float = 60) -> None:
        where = urlsplit(server.url)
        self.http = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout_s)

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, request: Signed) -> int:
        self.http.request("POST", request.path, headers=request.headers)
        return self.status()

    def get(self, path: str) -> int:
        self.http.request("GET", path)
        return self.status()

    def status(self) -> int:
        answer = self.http.getresponse()
        answer.read()
        return answer.status


MANY = 2 * ACCEPTORS
"""Connections, so many that every acceptor has some: they are dealt in turn."""


@contextmanager
def raws(server: ServerProcess) -> Iterator[list[Raw]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Raw(server)) for _ in range(MANY)]


def test_the_whole_journey_through_all_of_them(server: ServerProcess) -> None:
    runtimes = [server.client("sagemaker-runtime") for _ in range(MANY)]
    answers = [
        runtime.invoke_endpoint_async(EndpointName="answering", Body=deploy.wish(answer=f"{index} {turn}"))
        for turn in range(3)
        for index, runtime in enumerate(runtimes)
    ]
    assert all(connections_of(each, server) for each in acceptors(server)), "every acceptor has some of the work"
    wanted = [f"{index} {turn}".encode() for turn in range(3) for index in range(len(runtimes))]
    assert [deploy.read(server, answer["OutputLocation"]) for answer in answers] == wanted


def test_other_requests_of_a_connection_reach_the_server_in_their_order(server: ServerProcess) -> None:
    server.client("s3").put_object(Bucket=BUCKET, Key="in", Body=deploy.wish(answer="from S3"))
    with raws(server) as connections:
        for raw in connections:
            statuses = [raw.post(request) for request in signed(server, "answering", 2)]
            statuses.append(raw.get("/health"))  # from here on the connection is the server's own
            statuses += [raw.post(request) for request in signed(server, "answering")]
            assert statuses == [202, 202, 200, 202]


def test_a_head_that_comes_in_pieces_is_answered_by_whom_it_concerns(server: ServerProcess) -> None:
    where = urlsplit(server.url)
    [request] = signed(server, "answering")
    lines = [f"POST {request.path} HTTP/1.1", f"Host: {where.netloc}", "Content-Length: 0"]
    invoke = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in request.headers.items()), "", ""]).encode()
    for head, status in ((invoke, b"202"), (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"200")):
        with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(head), 7):
                connection.sendall(head[start : start + 7])
            assert connection.recv(12) == b"HTTP/1.1 " + status


def test_what_is_no_http_is_refused_by_the_server(server: ServerProcess) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(b"POST /endpoints/x/async-invocations HTTP/1.1\r\nX: " + b"y" * 70_000)
        assert connection.recv(12) == b"HTTP/1.1 431"


def test_a_key_that_is_disabled_opens_nothing_anywhere(server: ServerProcess) -> None:
    """From the moment of the answer on, also where it was used just before."""
    tarry = server.client("tarry")
    for turn in range(10):
        key = tarry.create_access_key(Name=f"short-{turn}")
        pair = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}

        def client(pair: dict[str, str] = pair) -> Any:
            once = Config(retries={"total_max_attempts": 1})
            return boto3.client("sagemaker-runtime", region_name="us-east-1", endpoint_url=server.url, config=once, **pair)

        clients = [client() for _ in range(MANY)]
        for each in clients:
            each.invoke_endpoint_async(EndpointName="answering", Body=b"{}")
        tarry.update_access_key(AccessKeyId=key["AccessKeyId"], Status="Inactive")
        for each in clients:
            with pytest.raises(ClientError, match="security token"):
                each.invoke_endpoint_async(EndpointName="answering", Body=b"{}")


def test_the_bound_of_a_queue_is_one_for_all(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", settings=TWO | {"TARRY_QUEUE__QUEUED_MAX": "10"}) as server:
        deploy.bucket(server, BUCKET)
        deploy.endpoint(server, "full", BUCKET)
        wanted = [{"VariantName": "v", "DesiredInstanceCount": 0}]
        sagemaker = server.client("sagemaker")
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="full", DesiredWeightsAndCapacities=wanted)
        deploy.in_service(server, "full")
        with raws(server) as connections:
            statuses = [raw.post(request) for raw in connections for request in signed(server, "full", 5)]
        assert statuses.count(202) == 10
        assert dict(count_states(server)) == {"Queued": 10}


def test_an_acceptor_that_dies_is_replaced_and_costs_no_accepted_request(server: ServerProcess) -> None:
    accepted = []
    for victim in acceptors(server):
        runtime = server.client("sagemaker-runtime")
        victim.kill()
        for _ in range(20):
            with suppress(BotoCoreError):  # what was dealt to it before its end was seen breaks, as when a server has crashed
                accepted.append(runtime.invoke_endpoint_async(EndpointName="answering", Body=deploy.wish(answer="still")))
    assert len(accepted) > 20
    assert [deploy.read(server, each["OutputLocation"]) for each in accepted] == [b"still"] * len(accepted)
    server.wait_for_log("an acceptor has ended, another is started")
    while len(acceptors(server)) < ACCEPTORS:
        pass


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_no_acceptor_outlives_its_server_and_what_was_accepted_stays(tmp_path: Path, how: str) -> None:
    server = ServerProcess(tmp_path / "data", settings=TWO).start()
    deploy.bucket(server, BUCKET)
    server.client("s3").put_object(Bucket=BUCKET, Key="in", Body=deploy.wish(answer="late"))
    deploy.endpoint(server, "later", BUCKET)
    wanted = [{"VariantName": "v", "DesiredInstanceCount": 0}]
    server.client("sagemaker").update_endpoint_weights_and_capacities(EndpointName="later", DesiredWeightsAndCapacities=wanted)
    deploy.in_service(server, "later")
    with raws(server) as connections:
        assert [raw.post(request) for raw in connections for request in signed(server, "later")] == [202] * MANY
    children = acceptors(server)
    if how == "killed":
        server.kill()
    else:
        assert server.stop() == 0
    for child in children:
        child.wait(60)
    with ServerProcess(tmp_path / "data") as again:  # without acceptors it is the same directory
        assert dict(count_states(again)) == {"Queued": MANY}


def test_a_signal_for_all_processes_leaves_the_stop_to_the_server(server: ServerProcess) -> None:
    before = acceptors(server)
    for each in before:
        each.terminate()
        each.send_signal(signal.SIGINT)
    runtime = server.client("sagemaker-runtime")
    for _ in range(MANY):
        runtime.invoke_endpoint_async(EndpointName="answering", Body=b"{}")
    assert acceptors(server) == before


def test_an_acceptor_that_stands_still_in_its_turn_to_write_is_ended(server: ServerProcess) -> None:
    """Nobody can write meanwhile; it is replaced, and the server goes on."""
    before = acceptors(server)
    standing, *_ = before
    lock = server.data_dir / "write-lock"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as if it were the one that stands still
        os.kill(standing.pid, signal.SIGSTOP)
        standing.wait(60)
    server.client("s3").put_object(Bucket=BUCKET, Key="written", Body=b"again")
    server.wait_for_log("an acceptor does not answer and is ended")
    while len(acceptors(server)) < ACCEPTORS:
        pass
    assert before[1] in acceptors(server), "the other one has done nothing"


class Wire:
    """A connection on which anything may be sent, and answers are read one by one."""

    def __init__(self, server: ServerProcess) -> None:
        where = urlsplit(server.url)
        self.socket = socket.create_connection((where.hostname, where.port), timeout=60)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def status(self) -> int:
        line = self._file.readline()
        headers = http.client.parse_headers(self._file)
        self._file.read(int(headers["Content-Length"]))
        return int(line.split()[1])


def invoke_bytes(server: ServerProcess) -> bytes:
    [request] = signed(server, "answering")
    lines = [f"POST {request.path} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}", "Content-Length: 0"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in request.headers.items()), "", ""]).encode()


@pytest.mark.parametrize("size", [140_000, 230_000, 400_000, 2_000_000])
def test_what_was_read_of_a_large_request_is_handed_over_whole(server: ServerProcess, size: int) -> None:
    s3, body, invoke = server.client("s3"), os.urandom(size), invoke_bytes(server)
    url = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": f"of-{size}"}))
    put = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {size}\r\n\r\n".encode()
    with Wire(server) as wire:
        for _ in range(30):
            wire.socket.sendall(invoke)
            assert wire.status() == 202
        wire.socket.sendall(put + body)
        assert wire.status() == 200
    assert s3.get_object(Bucket=BUCKET, Key=f"of-{size}")["Body"].read() == body


@pytest.mark.parametrize("order", ["iih", "ihi", "hii", "iiiiiiiiiih", "hhii"])
def test_requests_that_are_sent_together_are_answered_in_their_order(server: ServerProcess, order: str) -> None:
    requests = {"i": invoke_bytes(server), "h": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"}
    before = dict(count_states(server))
    with Wire(server) as wire:
        wire.socket.sendall(b"".join(requests[each] for each in order))
        assert [wire.status() for _ in order] == [202 if each == "i" else 200 for each in order]
    added = sum(dict(count_states(server)).values()) - sum(before.values())
    assert added == order.count("i")


def test_an_object_whose_address_looks_like_an_invocation_is_an_object(server: ServerProcess) -> None:
    s3 = server.client("s3", s3={"addressing_style": "path"})
    s3.create_bucket(Bucket="endpoints")
    upload = s3.create_multipart_upload(Bucket="endpoints", Key="x/async-invocations")
    s3.abort_multipart_upload(Bucket="endpoints", Key="x/async-invocations", UploadId=upload["UploadId"])


def test_with_tls_acceptors_are_refused(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", "--tls-cert", "c.pem", "--tls-key", "k.pem", settings=TWO)
    code, said = server.run_to_end()
    assert code != 0
    assert "does not go with TLS" in said
    assert "Traceback" not in said


def test_the_settings_say_how_many(tmp_path: Path) -> None:
    for count in ("-1", "65", "many"):
        code, said = ServerProcess(tmp_path / "data", settings={"TARRY_SERVER__ACCEPTORS": count}).run_to_end()
        assert code != 0
        assert "acceptors" in said
