"""Requests at the command line: sent, followed, looked up, stopped and asked again, on a real server."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import deploy
from tests.support.command_line import command, environ_of, piped, tarry, terminal, told
from tests.support.server_process import ServerProcess

BUCKET = "cli-test"
DEFAULT_BUCKET = "sagemaker-us-east-1-123456789012"


@pytest.fixture(scope="module")
def endpoint(server: ServerProcess) -> str:
    """One instance, one request at a time: what comes second waits."""
    deploy.bucket(server, BUCKET)
    deploy.endpoint(server, "cli", BUCKET, concurrency=1)
    return "cli"


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    file = tmp_path / "in.csv"
    file.write_bytes(b"1,2,3")
    return file


@pytest.fixture
def busy(server: ServerProcess, endpoint: str) -> Iterator[str]:
    """An invocation that keeps the only slot until it is stopped."""
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=endpoint, Body=deploy.wish(sleep=600))
    invocation = answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"]
    client = server.client("tarry")
    while client.describe_invocation(InvocationId=invocation)["Invocation"]["State"] != "Running":
        pass
    yield invocation
    client.stop_invocation(InvocationId=invocation)
    client.get_waiter("invocation_ended").wait(InvocationId=invocation)


def test_the_answer_is_all_that_a_pipe_gets(server: ServerProcess, endpoint: str, input_file: Path) -> None:
    done = piped(
        server, "invoke", endpoint, input_file, "--wait", "--inference-id", "by hand", "--priority", "2", "--timeout", "7"
    )
    described = told(server, "invocations", "show", "by hand")
    assert (done.returncode, done.stdout) == (0, b"1,2,3")
    assert done.stderr.decode() == f"invocation {described['InvocationId']}\n"
    assert (described["ContentType"], described["Priority"], described["TimeoutSeconds"]) == ("text/csv", 2, 7)
    assert "InputLocation" not in described


def test_the_same_request_again_is_told_to_be_the_first(server: ServerProcess, endpoint: str, input_file: Path) -> None:
    asked = ("invoke", endpoint, input_file, "--inference-id", "once", "--idempotency-seconds", "600")
    first = told(server, *asked)
    assert "Repeated" not in first
    assert told(server, *asked) == {**first, "Repeated": True}
    assert tarry(server, *asked).out.splitlines()[-1] == "repeated\tyes"
    waited = tarry(server, *asked, "--wait")
    assert (waited.out, waited.err) == ("1,2,3", f"invocation {first['InvocationId']}, as before\n")


def test_a_failure_tells_its_reason_and_what_the_container_said(server: ServerProcess, endpoint: str, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_bytes(deploy.wish(status=500, answer="out of \x1b[2Jmemory"))
    done = tarry(server, "invoke", endpoint, file, "--output", tmp_path / "answer")
    assert (done.code, done.out) == (3, "")
    said = done.err
    first, _, said = said.partition("\n")
    assert first.startswith("invocation ")
    assert said.startswith("Failed after")
    assert "server error (500) from model" in said
    assert "out of  [2Jmemory" in said
    assert f"s3://{BUCKET}/out/" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.json"]


def test_of_a_large_failure_the_beginning_is_shown(server: ServerProcess, endpoint: str, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_bytes(deploy.wish(status=500, big=200_000))
    done = tarry(server, "invoke", endpoint, file, "--wait")
    assert done.code == 3
    assert done.err.count("x" * 65_536) == 1
    assert len(done.err) < 67_000
    assert "(200000 bytes, the first 65536 are shown)" in done.err


def test_a_terminal_is_asked_for_input_and_spared_what_is_no_text(server: ServerProcess, endpoint: str, tmp_path: Path) -> None:
    with terminal(server, "invoke", endpoint, "-", "--wait") as asked:
        asked.read_until("Ctrl-D")
        asked.type("typed in\n\x04")
        assert asked.finish() == 0
    assert asked.text.count("typed in") == 2  # its echo and the answer
    file = tmp_path / "in.bin"
    file.write_bytes(b"\x00\x1b[2J")
    with terminal(server, "invoke", endpoint, file, "--wait") as spared:
        assert spared.finish() == 0
    assert "\x1b[2J" not in spared.text
    assert "--output FILE" in spared.text


def test_a_large_input_goes_over_s3_and_the_answer_into_a_file(server: ServerProcess, endpoint: str, tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    file, answer = tmp_path / "in.bin", tmp_path / "answer"
    file.write_bytes(body)
    answer.write_bytes(b"old")
    document = told(server, "invoke", endpoint, file, "--output", answer)
    assert answer.read_bytes() == body
    assert document["State"] == "Completed"
    assert document["InputLocation"].startswith(f"s3://{DEFAULT_BUCKET}/tarry-invoke/")
    assert document["InputLocation"].endswith("/in.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer", "in.bin"]
    assert piped(server, "invocations", "watch", document["InvocationId"], "--output", "/dev/stdout").stdout == body


def test_standard_input_goes_where_it_is_told(server: ServerProcess, endpoint: str) -> None:
    done = piped(server, "invoke", endpoint, "-", "--bucket", BUCKET, "--content-type", "a/b", "--wait", "--json", given=b"typed")
    document = json.loads(done.stdout)
    assert document["InputLocation"].startswith(f"s3://{BUCKET}/")
    assert document["ContentType"] == "a/b"
    assert deploy.read(server, document["OutputLocation"]) == b"typed"


def test_without_wait_it_says_where_the_answer_will_be(server: ServerProcess, endpoint: str, input_file: Path) -> None:
    done = tarry(server, "invoke", endpoint, input_file)
    names = dict(line.split("\t") for line in done.out.splitlines())
    assert deploy.read(server, names["output"]) == b"1,2,3"
    assert names["failure"].endswith("-error.out")
    again = tarry(server, "invocations", "watch", names["invocation"])
    assert (again.code, again.out, again.err) == (0, "1,2,3", "")


def test_a_terminal_shows_the_place_in_the_queue_and_ctrl_c_says_how_to_look_again(
    server: ServerProcess, endpoint: str, busy: str, input_file: Path
) -> None:
    with terminal(server, "invoke", endpoint, input_file, "--wait") as waiting:
        waiting.read_until("number 1 in the queue")
        waiting.type("\x03")
        waiting.read_until("^C")  # the terminal drops what is on its way when it gets the key: let that be over
        waiting.process.send_signal(signal.SIGINT)  # the pseudo-terminal controls nobody, so nothing is made of the key
        assert waiting.finish() == 130
    assert "Traceback" not in waiting.text
    _, _, typed = waiting.text.partition("Look again: tarry ")
    (invocation,) = [each["InvocationId"] for each in told(server, "invocations", "list", "--state", "queued")]
    assert typed.split() == ["invocations", "watch", invocation]
    with terminal(server, *typed.split()) as again:
        again.read_until("number 1 in the queue")
        assert tarry(server, "invocations", "stop", invocation).out.startswith(f"{invocation}\tStopp")
        assert again.finish() == 5
    assert "Stopped" in again.text
    assert "StopInvocation" in again.text


def test_a_server_that_dies_loses_nothing_and_the_command_says_so(tmp_path: Path, input_file: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        deploy.bucket(server, BUCKET)
        deploy.endpoint(server, "dies", BUCKET, {"STUB_DEFAULT": '{"sleep": 600}'})
        with terminal(server, "invoke", "dies", input_file, "--wait") as waiting:
            waiting.read_until("Running")
            server.kill()
            assert waiting.finish() == 1
        assert "The invocation is kept. Look again: tarry invocations watch" in " ".join(waiting.text.split())
        server.start()
        (kept,) = told(server, "invocations", "list")
        assert kept["InvocationId"] in waiting.text
        told(server, "invocations", "stop", kept["InvocationId"])


def test_lists_choose_and_tell_of_more(server: ServerProcess, endpoint: str, tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    for status in (400, 500, 400):
        file.write_bytes(deploy.wish(status=status))
        assert tarry(server, "invoke", endpoint, file, "--wait", "--inference-id", "listed").code == 3
    chosen = ("--endpoint", endpoint, "--state", "failed", "--reason", "(400)", "--since", "1h")
    newest, oldest = told(server, "invocations", "list", *chosen)
    assert (newest["State"], newest["InferenceId"]) == ("Failed", "listed")
    assert newest["ReceivedTime"] > oldest["ReceivedTime"]
    one = tarry(server, "invocations", "list", *chosen, "--limit", "1")
    (line,) = one.out.splitlines()
    assert line.split("\t")[:3] == [newest["InvocationId"], endpoint, "Failed"]
    assert "more than 1: --limit" in one.err
    assert told(server, "invocations", "list", "--until", "1h") == []
    shown = told(server, "invocations", "show", "listed")
    assert shown["InvocationId"] == newest["InvocationId"]
    assert len(shown["SameInferenceId"]) == 3
    with terminal(server, "invocations", "show", "listed") as page:
        assert page.finish() == 0
    assert "\x1b[31mFailed" in page.text
    for words in ("Received", "Claimed", "Decided", "same inference id", f"tarry logs {endpoint}\r\n"):
        assert words in page.text
    with terminal(server, "invocations", "list", *chosen) as page:
        assert page.finish() == 0
    assert page.text.endswith(f"What the model server printed: tarry logs {endpoint}\r\n")
    assert len(told(server, "invocations", "list", "--inference-id", "listed")) == 3
    (over,) = told(server, "invocations", "stop", "listed")
    assert (over["InvocationId"], over["State"]) == (newest["InvocationId"], "Failed")


def test_what_shares_an_inference_id_is_moved_and_stopped_together(
    server: ServerProcess, endpoint: str, busy: str, input_file: Path
) -> None:
    ids = [told(server, "invoke", endpoint, input_file, "--inference-id", "both")["InvocationId"] for _ in range(2)]
    moved = told(server, "invocations", "prioritize", "both", "--priority", "2")
    assert [(each["InvocationId"], each["Priority"]) for each in moved] == [(each, 2) for each in reversed(ids)]
    stopped = tarry(server, "invocations", "stop", "both")
    assert [line.split("\t")[0] for line in stopped.out.splitlines()] == ids[::-1]


def test_what_failed_is_asked_again(server: ServerProcess, tmp_path: Path, endpoint: str) -> None:
    deploy.endpoint(server, "cli-again", BUCKET)
    file = tmp_path / "in.json"
    file.write_bytes(deploy.wish(status=500))
    ids = []
    for _ in range(2):
        done = tarry(server, "invoke", "cli-again", file, "--wait", "--json")
        ids.append(json.loads(done.out)["InvocationId"])
    dry = tarry(server, "invocations", "redrive", "--endpoint", "cli-again", "--dry-run")
    rows = [line.split("\t") for line in dry.out.splitlines()]
    assert [row[:3] for row in rows] == [[each, "cli-again", "Failed"] for each in reversed(ids)]
    assert all("server error (500)" in row[-1] for row in rows)
    (one,) = told(server, "invocations", "redrive", ids[0])["Redrives"]
    assert one["InvocationId"] == ids[0]
    matching = told(server, "invocations", "redrive", "--endpoint", "cli-again", "--state", "failed")["Redrives"]
    assert ids[1] in [each["InvocationId"] for each in matching]  # the first one's repetition may have failed by now
    assert told(server, "invocations", "show", ids[0])["RedrivenAs"] == one["NewInvocationId"]


def test_endpoints_and_their_queues(server: ServerProcess, endpoint: str, busy: str, input_file: Path) -> None:
    for _ in range(2):
        tarry(server, "invoke", endpoint, input_file)
    rows = [line.split("\t") for line in tarry(server, "endpoints").out.splitlines()]
    (row,) = [row for row in rows if row[0] == endpoint]
    assert row[:6] == [endpoint, "InService", "1/1", "2", "0", "1"]
    shown = dict(line.split("\t") for line in tarry(server, "endpoints", "show", endpoint).out.splitlines())
    assert (shown["status"], shown["queued"], shown["running"]) == ("InService", "2", "1")
    assert "1 of 1 instances" in shown["variant v"]
    assert "`tarry endpoints`" in tarry(server, "endpoints", "show", "nobody").err
    with terminal(server, "endpoints") as page:
        assert page.finish() == 0
    assert "\x1b[32mInService" in page.text
    assert "instances" in page.text
    queue = told(server, "queue", "show", endpoint)
    assert (queue["QueuedCount"], queue["RunningCount"]) == (2, 1)
    refused = tarry(server, "queue", "purge", endpoint)
    assert refused.code == 1
    assert "--yes" in refused.err
    with terminal(server, "queue", "purge", endpoint) as asked:
        asked.read_until(f"Stop 2 invocations that wait for {endpoint}?")
        asked.type("y\n")
        assert asked.finish() == 0
    assert told(server, "queue", "show", endpoint)["QueuedCount"] == 0
    assert told(server, "queue", "purge", endpoint, "--yes") == {"Count": 0}


def test_what_waits_is_moved_in_the_queue(server: ServerProcess, endpoint: str, busy: str, input_file: Path) -> None:
    first, second = (told(server, "invoke", endpoint, input_file)["InvocationId"] for _ in range(2))
    moved = tarry(server, "invocations", "prioritize", second, "--priority", "9")
    assert (moved.code, moved.out) == (0, f"{second}\tQueued\t9\n")
    assert told(server, "invocations", "show", second)["QueuePosition"] == 1
    back = told(server, "invocations", "prioritize", first, second, "--priority", "-9")
    assert [(each["InvocationId"], each["Priority"]) for each in back] == [(first, -9), (second, -9)]
    assert told(server, "invocations", "show", second)["QueuePosition"] == 2
    running = tarry(server, "invocations", "prioritize", busy, "--priority", "1")
    assert (running.code, running.out) == (1, "")
    assert "does not wait any more: it is Running" in running.err
    told(server, "invocations", "stop", first, second)


def test_what_waits_for_an_endpoint_without_instances_is_told_where_to_look(
    server: ServerProcess, endpoint: str, busy: str, input_file: Path
) -> None:
    where = "The endpoint has no instance in service. Why: tarry endpoints show"
    waits = told(server, "invoke", endpoint, input_file)["InvocationId"]
    with terminal(server, "invocations", "show", waits) as page:
        assert page.finish() == 0
    assert where not in page.text
    told(server, "invocations", "stop", waits)
    deploy.endpoint(server, "cli-none", BUCKET)
    none = [{"VariantName": "v", "DesiredInstanceCount": 0}]
    server.client("sagemaker").update_endpoint_weights_and_capacities(EndpointName="cli-none", DesiredWeightsAndCapacities=none)
    deploy.in_service(server, "cli-none")
    waits = told(server, "invoke", "cli-none", input_file)["InvocationId"]
    with terminal(server, "invocations", "show", waits) as page:
        assert page.finish() == 0
    assert page.text.endswith(f"{where} cli-none\r\n")


def test_the_retry_policy_of_an_endpoint(server: ServerProcess, endpoint: str) -> None:
    policy = ("queue", "retry-policy", endpoint)
    assert told(server, *policy) is None
    set_to = told(server, *policy, "--attempts", "3", "--status", "503", "--status", "timeout", "--backoff", "0.5")
    assert (set_to["MaxAttempts"], set_to["Statuses"], set_to["BackoffSeconds"]) == (3, ["503", "timeout"], 0.5)
    assert tarry(server, *policy).out.startswith("3 attempts on 503, timeout; 500 ms before the second")
    assert told(server, *policy, "--none") is None
    assert "--attempts" in tarry(server, *policy, "--backoff", "1").err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["invoke", "none", "{file}"], 1, "`tarry endpoints` lists"),
        (["invoke", "cli", "missing.csv"], 2, "No such file"),
        (["invoke", "cli", "{file}", "--output", "/none/such"], 2, "no directory /none"),
        (["invoke", "cli", "{file}", "--bucket", "no-such-bucket"], 1, "NoSuchBucket"),
        (["invoke", "cli", "{file}", "--priority", "10"], 1, "from -9 to 9"),
        (["invoke", "cli", "{file}", "--inference-id", ""], 1, "InferenceId"),
        (["invocations", "show", "no such"], 1, "`tarry invocations list`"),
        (["invocations", "stop", "none"], 1, "`tarry invocations list`"),
        (["invocations", "prioritize", "none", "--priority", "1"], 1, "`tarry invocations list`"),
        (["invocations", "prioritize", "none"], 2, "--priority"),
        (["invocations", "list", "--endpoint", "none"], 1, "`tarry endpoints` lists"),
        (["invocations", "list", "--since", "yesterday"], 1, "15m, 2h, 3d"),
        (["invocations", "redrive"], 1, "--endpoint"),
        (["invocations", "redrive", "x", "--state", "stopped"], 1, "`tarry invocations list`"),
        (["invocations", "redrive", "--endpoint", "cli", "--state", "queued"], 2, "'failed', 'expired', 'stopped'"),
        (["queue", "show", "none"], 1, "`tarry endpoints` lists"),
        (["queue", "purge", "none"], 1, "`tarry endpoints` lists"),
    ],
)
def test_what_cannot_be_is_told_with_the_next_step(
    server: ServerProcess, endpoint: str, input_file: Path, arguments: list[str], code: int, words: str
) -> None:
    done = tarry(server, *(argument.format(file=input_file) for argument in arguments))
    assert (done.code, done.out) == (code, "")
    assert words in " ".join(done.err.split())


def test_an_endpoint_that_is_not_ready_says_where_its_status_is(server: ServerProcess, endpoint: str, input_file: Path) -> None:
    deploy.model(server, "cli-slow", {"STUB_PING": "never"})
    deploy.config(server, "cli-slow", "cli-slow", BUCKET)
    server.client("sagemaker").create_endpoint(EndpointName="cli-slow", EndpointConfigName="cli-slow")
    done = tarry(server, "invoke", "cli-slow", input_file)
    assert (done.code, done.err) == (1, "tarry: cli-slow takes no invocations now: `tarry endpoints` shows its status.\n")


def test_a_profile_of_the_shell_does_not_matter(server: ServerProcess) -> None:
    environ = {**environ_of(server), "AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = subprocess.run(command("invocations", "list"), capture_output=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr.decode()
