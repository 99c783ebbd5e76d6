"""The built-in XGBoost image, in its own environment, against predictions made in this process."""

import asyncio
import json
import pickle
import socket
from urllib.parse import urlsplit

import numpy
import pytest
import scipy.sparse  # type: ignore[import-untyped]
import xgboost
from tests.support.xgboost_instance import ROWS, SPARSE, Answer, Instance, csv_of, libsvm_of, saved, trained
from tests.support.xgboost_serving import MODELS, recordio

pytestmark = pytest.mark.needs_image

CSV, JSON, JSON_LINES, RECORDIO = "text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"
AS_CSV = "text/csv; charset=utf-8"


def joined(predictions: numpy.ndarray) -> str:
    """As the tags before 1.2-2 answer."""
    return ",".join(map(str, predictions.tolist()))


def lines(predictions: numpy.ndarray) -> str:
    """As the others answer."""
    return "".join(f"{one}\n" for one in predictions.tolist())


def records_of(rows: numpy.ndarray) -> bytes:
    """Dense records, as the SDK writes them."""
    parts = []
    for row in rows.tolist():
        record = recordio.Record()
        record.features["values"].float32_tensor.values.extend(row)
        body = record.SerializeToString()
        parts.append(recordio.HEAD.pack(recordio.MAGIC, len(body)) + body + bytes(-len(body) % 4))
    return b"".join(parts)


async def test_answers_are_the_models_own_predictions(instance: Instance) -> None:
    model = trained()
    await instance.start({"xgboost-model": saved(model, "deprecated")})
    expected = (200, AS_CSV, joined(model.predict(xgboost.DMatrix(ROWS))))
    sparse = (200, AS_CSV, joined(model.predict(xgboost.DMatrix(scipy.sparse.csr_matrix(SPARSE)))))
    assert await instance.get("/ping") == (200, "")
    assert await instance.invoke(csv_of(ROWS)) == expected
    assert await instance.invoke(csv_of(ROWS) + "\n", "TEXT/CSV; charset=utf-8; label_size=1", accept=JSON) == expected
    assert await instance.invoke(csv_of(ROWS).replace(",", ";")) == expected
    assert await instance.invoke(records_of(ROWS), RECORDIO) == expected
    for content_type in ("text/libsvm", "text/x-libsvm", "libsvm", None):
        assert await instance.invoke(libsvm_of(SPARSE), content_type) == sparse
    status, parameters = await instance.get("/execution-parameters")
    assert (status, json.loads(parameters)) == (
        200,
        {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6},
    )


async def test_the_status_table(instance: Instance) -> None:
    """Every wrong request, its status and how its text begins; none of them hurts the next one."""
    await instance.start({"xgboost-model": saved(trained())})
    assert (await instance.invoke(b""))[::2] == (204, "")
    not_accepted = " is not an accepted ContentType: csv, text/csv, libsvm, text/libsvm, text/x-libsvm, recordio-protobuf, "
    loading = "Loading {0} data failed with Exception, please ensure data is in {0} format:".format
    evaluating = "Unable to evaluate payload provided: Feature size of "
    table: list[tuple[bytes, str, int, str]] = [
        (b"1,2", JSON, 415, f"{JSON}{not_accepted}"),
        (b"1,2", JSON_LINES, 415, f"{JSON_LINES}{not_accepted}"),
        (b"1,2", "application/x-parquet", 415, "Content-type application/x-parquet is not supported."),
        (b"1,2", "text/csv; label_size=2", 415, "text/csv; label_size=2 is not an accepted csv ContentType. Optional parameter"),
        *((body, CSV, 415, loading("csv") + "\n <class 'ValueError'>\n ")
          for body in (b"a,b,c,d,e", b"1,2\n1,2,3", b"1,2,3,4,5\n\n1,2,3,4,5", b"\n", "①,2,3,4,5".encode())),
        (b"\xff\xfe", CSV, 415, loading("csv") + "\n <class 'UnicodeDecodeError'>\n "),
        (b"1,2,3,4,inf", CSV, 415, loading("csv")),
        *((body, "text/libsvm", 415, loading("libsvm") + "\n <class 'ValueError'>\n ")
          for body in (b"1 x:2", b"1 -1:2", b"1 99999999999:2", b"1 1:2 3", b"a 1:2", b"1 2:\xe2\x91\xa0")),
        (b"junk", RECORDIO, 415, loading("recordio-protobuf") + " <class 'ValueError'> "),
        (b"1,2", CSV, 400, evaluating + "csv inference data 2 is not consistent with feature size of"),
        (b"1,2,3,4,5,6", CSV, 400, evaluating + "csv inference data 6 is not consistent with feature size"),
        (b"1 5:1", "text/libsvm", 400, evaluating + "libsvm inference data 6 is larger than feature size of"),
    ]  # fmt: skip
    for body, content_type, status, beginning in table:
        said = await instance.invoke(body, content_type)
        assert (said[0], said[2][: len(beginning)]) == (status, beginning), (body, content_type)
        assert "Traceback" not in said[2]
        assert "Stack trace" not in said[2]
    log = await instance.log()
    assert "/invocations: 400 Unable to evaluate payload provided" in log
    assert "Traceback" not in log, "the fault is the client's"
    assert (await instance.invoke("1,,3,4,5"))[0] == 200, "an empty cell is a missing value"
    assert (await instance.invoke("nan,nan,nan,nan,nan"))[0] == 200
    assert (await instance.invoke("1", "text/libsvm"))[0] == 200, "a row may have no value at all"
    assert (await instance.invoke(csv_of(numpy.repeat(ROWS, 4000, axis=0))))[0] == 200, "0.90-1 has no limit of 6 MiB"
    assert (await instance.get("/nowhere"))[0] == 404
    assert (await instance.get("/invocations"))[0] == 405


@pytest.mark.parametrize(("tag", "longer"), [("0.90-1-cpu-py3", 200), ("1.3-1", 400)])
async def test_a_pickle_takes_a_column_more_or_less_where_the_original_does(instance: Instance, tag: str, longer: int) -> None:
    """Training on libsvm that counts from 1 makes a column that csv has not; the other way round 0.90 leaves the last one out."""
    model = trained()
    await instance.start({"xgboost-model": pickle.dumps(model)}, tag)
    cut = numpy.column_stack([ROWS[:3, :4], numpy.full(3, numpy.nan, numpy.float32)])
    shorter = (200, model.predict(xgboost.DMatrix(cut)).tolist())
    for body, content_type in ((csv_of(ROWS[:3, :4]), CSV), (records_of(ROWS[:3, :4]), RECORDIO)):
        status, _, text = await instance.invoke(body, content_type)
        assert (status, [float(one) for one in text.replace(",", "\n").split()]) == shorter
    assert (await instance.invoke(csv_of(ROWS[:3, :3])))[0] == 400
    assert (await instance.invoke("1,2,3,4,5,6"))[0] == 400
    wide = numpy.column_stack([SPARSE[:3], numpy.full(3, 9)])
    status, _, text = await instance.invoke(libsvm_of(wide), "text/libsvm")
    assert status == longer, text
    if longer == 200:
        assert text == joined(model.predict(xgboost.DMatrix(scipy.sparse.csr_matrix(SPARSE[:3]))))
    else:
        assert "Number of columns does not match" in text
    assert (await instance.invoke("0 6:1", "text/libsvm"))[::2] == (
        400,
        "Unable to evaluate payload provided: Feature size of libsvm inference data 7 is larger than feature size of trained "
        "model 5.",
    )


async def test_newer_tags_obey_accept_and_the_size_limit(instance: Instance) -> None:
    model = trained("multi:softprob", num_class=3)
    await instance.start({"model.json": saved(model, "json")}, tag="1.7-1", MAX_CONTENT_LENGTH="10000")
    predictions = model.predict(xgboost.DMatrix(ROWS[:2])).tolist()
    scores = [{"score": score} for score in predictions]
    body = csv_of(ROWS[:2])
    _, content_type, text = await instance.invoke(body, accept=JSON)
    assert (content_type, json.loads(text)) == (JSON, {"predictions": scores})
    _, content_type, text = await instance.invoke(body, accept=JSON_LINES)
    assert (content_type, [json.loads(line) for line in text.splitlines()]) == (JSON_LINES, scores)
    as_lines = (200, AS_CSV, "".join(",".join(map(str, row)) + "\n" for row in predictions))
    assert await instance.invoke(body, accept="*/*") == as_lines
    assert await instance.invoke(body) == as_lines
    status, content_type, answer = await instance.invoke_bytes(body, accept=RECORDIO)
    assert (status, content_type) == (200, RECORDIO)
    labels = [recordio.Record.FromString(bytes(frame)).label for frame in recordio._frames(memoryview(answer))]
    assert [list(label["score"].float32_tensor.values) for label in labels] == predictions
    status, _, text = await instance.invoke(body, accept="image/png")
    assert (status, text[:49]) == (406, "Accept type image/png is not supported. Please us")
    status, _, text = await instance.invoke(b"1" * 5_000_000)
    assert (status, text) == (413, "The payload is larger than MAX_CONTENT_LENGTH (10000 bytes).")
    assert json.loads((await instance.get("/execution-parameters"))[1])["MaxPayloadInMB"] == 0


async def test_selected_content_and_the_default_accept(instance: Instance) -> None:
    model = trained("binary:logistic")
    await instance.start(
        {"xgboost-model": saved(model)}, tag="1.0-1-cpu-py3",
        SAGEMAKER_INFERENCE_OUTPUT="predicted_label, probability,predicted_score", SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=JSON,
    )  # fmt: skip
    probabilities = model.predict(xgboost.DMatrix(ROWS)).tolist()
    status, content_type, text = await instance.invoke(csv_of(ROWS))
    assert (status, content_type) == (200, JSON)
    rows = json.loads(text)["predictions"]
    assert [row["probability"] for row in rows] == probabilities
    assert [row["predicted_label"] for row in rows] == [int(one > 0.5) for one in probabilities]
    assert all(numpy.isnan(row["predicted_score"]) for row in rows), "the objective has none"
    _, _, text = await instance.invoke(csv_of(ROWS[:1]), accept=CSV)
    assert text == f"{int(probabilities[0] > 0.5)},{probabilities[0]},nan"
    assert (await instance.invoke(csv_of(ROWS), accept="text/html"))[0] == 406


async def test_an_objective_without_selectable_content_answers_500(instance: Instance) -> None:
    await instance.start({"xgboost-model": saved(trained("count:poisson"))}, tag="1.5-1", SAGEMAKER_INFERENCE_OUTPUT="labels")
    status, _, text = await instance.invoke(csv_of(ROWS))
    assert (status, text) == (500, "Objective `count:poisson` unsupported for selectable inference predictions.")


async def test_several_models_are_one(instance: Instance) -> None:
    several = [trained(seed=seed) for seed in (1, 2, 3)]
    files = {f"xgboost-model-{number}": saved(model) for number, model in enumerate(several)}
    await instance.start({**files, "code/notes.txt": b"not a model"}, tag="1.3-1")
    mean = numpy.mean([model.predict(xgboost.DMatrix(ROWS)) for model in several], axis=0)
    assert await instance.invoke(csv_of(ROWS)) == (200, AS_CSV, lines(mean))


async def test_the_first_of_several_models_answers_where_that_is_wanted(instance: Instance) -> None:
    several = [trained(seed=seed) for seed in (1, 2)]
    files = {f"xgboost-model-{number}": saved(model) for number, model in enumerate(several)}
    await instance.start(files, tag="1.3-1", SAGEMAKER_INFERENCE_ENSEMBLE="false")
    assert (await instance.invoke(csv_of(ROWS)))[2] == lines(several[0].predict(xgboost.DMatrix(ROWS)))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no file in the model directory"),
        ({"a": b"1", "b": b"2"}, "2 files in the model directory (a, b); one model a container"),
        ({"xgboost-model": b"this is no model at all"}, "xgboost-model"),
        ({"xgboost-model": pickle.dumps({"a": 1})}, "a pickle of dict"),
    ],
    ids=["none", "two", "junk", "other pickle"],
)
async def test_a_model_that_cannot_be_loaded_fails_its_ping(instance: Instance, files: dict[str, bytes], reason: str) -> None:
    await instance.start(files)
    status, text = await instance.get("/ping")
    assert status == 500
    assert text.startswith("Unable to load model: ")
    assert reason in text
    assert (await instance.invoke("1,2"))[::2] == (500, text)
    log = await instance.log()
    assert reason in log
    assert "CannotLoad" in log, "the stack is there for whom the instance belongs to"
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("tag", "environment", "reason"),
    [
        ("1.7-1", {"MAX_CONTENT_LENGTH": "6MB"}, "cannot start: MAX_CONTENT_LENGTH must be a whole number above 0, got '6MB'."),
        ("1.7-1", {"SAGEMAKER_MULTI_MODEL": "true"}, "cannot start: SAGEMAKER_MULTI_MODEL is set"),
    ],
)
async def test_what_cannot_start_says_why(instance: Instance, tag: str, environment: dict[str, str], reason: str) -> None:
    await instance.start({"xgboost-model": b"x"}, tag, **environment)
    [status] = await instance.engine.observe()
    assert status.exit_code == 1
    assert reason in await instance.log()


OLD = [
    ("xgboost:1", "0.72.1.pickle"),
    ("0.90-1-cpu-py3", "0.90.pickle"),
    ("0.90-2-cpu-py3", "0.90.binary"),
    ("1.0-1-cpu-py3", "1.0.2.pickle"),
    ("1.2-1", "1.0.2.binary"),
    ("1.2-2", "1.3.3.pickle"),
    ("1.3-1", "1.3.3.json"),
    ("1.5-1", "1.5.2.json"),
    ("1.7-1", "1.7.6.ubj"),
    ("1.3-1-arm64", "1.3.3.binary"),
    ("3.0-5", "1.7.6.json"),
    ("3.2-0", "3.2.0.ubj"),
]


@pytest.mark.parametrize(
    ("tag", "file"),
    [pytest.param(tag, file, marks=[] if tag == "0.90-1-cpu-py3" else [pytest.mark.slow]) for tag, file in OLD],
)
async def test_each_tag_serves_a_model_of_its_time(instance: Instance, tag: str, file: str) -> None:
    expected = json.loads((MODELS / f"{file.rpartition('.')[0]}-expected.json").read_text())["plain"]
    await instance.start({"xgboost-model": (MODELS / file).read_bytes()}, tag.removeprefix("xgboost:"))
    status, _, text = await instance.invoke("0.1,0.2,0.3\n-1,2,\n1,-1,1")
    assert status == 200, text
    separator = "," if tag in ("xgboost:1", "0.90-1-cpu-py3", "0.90-2-cpu-py3", "1.0-1-cpu-py3", "1.2-1") else "\n"
    answers = [float(one) for one in text.strip().split(separator)]
    numpy.testing.assert_allclose(answers, expected, atol=2e-6)


@pytest.mark.slow
async def test_a_library_too_new_for_a_model_says_what_to_do(instance: Instance) -> None:
    await instance.start({"xgboost-model": (MODELS / "0.90.pickle").read_bytes()}, "3.2-0")
    status, text = await instance.get("/ping")
    assert status == 500
    assert "XGBoost 3.1 and later read JSON and UBJSON only: use an image tag up to 3.0-5" in text


@pytest.mark.slow
async def test_libsvm_counts_from_1_in_3_2(instance: Instance) -> None:
    await instance.start({"xgboost-model": (MODELS / "3.2.0.ubj").read_bytes()}, "3.2-0")
    expected = json.loads((MODELS / "3.2.0-expected.json").read_text())["plain"][0]
    for body in ("0 1:0.1 2:0.2 3:0.3", "0 0:0.1 1:0.2 2:0.3"):
        status, _, text = await instance.invoke(body, "text/libsvm")
        assert status == 200, text
        assert float(text) == pytest.approx(expected, abs=2e-6)


async def test_pings_are_answered_while_predictions_run(instance: Instance) -> None:
    await instance.start({"xgboost-model": saved(trained())})
    body = csv_of(numpy.repeat(ROWS, 1000, axis=0))
    busy = [asyncio.create_task(instance.invoke(body)) for _ in range(4)]
    pinged = 0
    while not all(task.done() for task in busy):
        async with asyncio.timeout(2):
            assert (await instance.get("/ping"))[0] == 200
        pinged += 1
    assert pinged > 1
    assert {task.result()[0] for task in busy} == {200}


async def test_bodies_that_come_slowly_or_never_end_hold_nobody_up(instance: Instance) -> None:
    await instance.start({"xgboost-model": saved(trained())})
    address = urlsplit(instance.address)
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 10\r\n\r\n1,2"
    slow = [socket.create_connection((address.hostname, address.port)) for _ in range(20)]
    for connection in slow:
        connection.sendall(head)
    async with asyncio.timeout(30):
        answers: list[Answer] = await asyncio.gather(*(instance.invoke(csv_of(ROWS)) for _ in range(8)))
    assert {answer[0] for answer in answers} == {200}
    slow[0].sendall(b",3,4,5 ")
    slow[0].settimeout(30)
    said = await asyncio.to_thread(slow[0].recv, 4096)
    assert said.startswith(b"HTTP/1.1 200")
    for connection in slow:
        connection.close()
    assert (await instance.invoke(csv_of(ROWS)))[0] == 200


@pytest.mark.parametrize(("chunks", "status"), [(10, b"415"), (11, b"413")], ids=["at the limit", "above it"])
async def test_a_body_in_chunks_is_bounded_too(instance: Instance, chunks: int, status: bytes) -> None:
    await instance.start({"xgboost-model": saved(trained())}, tag="1.7-1", MAX_CONTENT_LENGTH="1000")
    address = urlsplit(instance.address)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write((b"64\r\n" + b"x" * 100 + b"\r\n") * chunks + b"0\r\n\r\n")
    async with asyncio.timeout(30):
        line = await reader.readline()
    writer.close()
    assert line.split()[1] == status


async def test_a_client_that_sends_more_than_it_may_sees_the_answer(instance: Instance) -> None:
    """The whole body is taken off the line: a client that still sends would find a broken connection in its place."""
    await instance.start({"xgboost-model": saved(trained())}, tag="1.7-1", MAX_CONTENT_LENGTH="1000")
    address = urlsplit(instance.address)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 50000000\r\n\r\n"
    writer.write(head + bytes(50_000_000))
    async with asyncio.timeout(60):
        await writer.drain()
        line = await reader.readline()
    writer.close()
    assert line.split()[1] == b"413"


async def test_it_stops_on_sigterm(instance: Instance) -> None:
    await instance.start({"xgboost-model": saved(trained())})
    async with asyncio.timeout(15):
        await instance.engine.stop("i-1", grace_s=60)
