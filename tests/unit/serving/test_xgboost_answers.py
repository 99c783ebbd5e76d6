"""What the XGBoost image answers with: types, plain scores, selected content."""

import json
import math

import pytest
from tests.support.xgboost_serving import answers, recordio, selectable

SCORES = [0.25, 0.5]
VECTORS = [[0.25, 0.75], [0.5, 0.5]]


def labels(body: bytes) -> list[dict[str, list[float]]]:
    """The labels of recordio's records."""
    records = [recordio.Record.FromString(bytes(frame)) for frame in recordio._frames(memoryview(body))]
    return [{name: list(value.float32_tensor.values) for name, value in record.label.items()} for record in records]


@pytest.mark.parametrize(
    ("header", "default", "accept"),
    [
        (None, "", "text/csv"),
        ("", "application/json", "application/json"),
        ("*/*", "Application/JSON", "application/json"),
        ("text/csv", "application/json", "text/csv"),
        ("Application/JSON;verbose=True", "", "application/json"),
        ("application/jsonlines", "", "application/jsonlines"),
        ("application/x-recordio-protobuf", "", "application/x-recordio-protobuf"),
    ],
)
def test_accept(header: str | None, default: str, accept: str) -> None:
    assert answers.accepted(header, default) == accept


@pytest.mark.parametrize(("header", "default", "named"), [("text/libsvm", "", "text/libsvm"), (None, "image/png", "image/png")])
def test_what_is_not_acceptable(header: str | None, default: str, named: str) -> None:
    with pytest.raises(answers.NotAcceptable) as refused:
        answers.accepted(header, default)
    assert str(refused.value) == (
        f"Accept type {named} is not supported. Please use supported accept types: "
        "['application/json', 'application/jsonlines', 'application/x-recordio-protobuf', 'text/csv']."
    )


def test_plain_scores() -> None:
    assert answers.plain(SCORES, "text/csv") == "0.25\n0.5\n"
    assert answers.plain(VECTORS, "text/csv") == "0.25,0.75\n0.5,0.5\n"
    assert answers.plain(SCORES, "text/csv", batch=True) == "0.25\n0.5\n"
    assert answers.plain(VECTORS, "text/csv", batch=True) == "[0.25, 0.75]\n[0.5, 0.5]\n"
    assert json.loads(answers.plain(VECTORS, "application/json")) == {"predictions": [{"score": score} for score in VECTORS]}
    assert answers.plain(SCORES, "application/jsonlines") == '{"score": 0.25}\n{"score": 0.5}\n'
    assert labels(answers.plain(SCORES, "application/x-recordio-protobuf")) == [{"score": [0.25]}, {"score": [0.5]}]
    assert labels(answers.plain(VECTORS, "application/x-recordio-protobuf")) == [{"score": one} for one in VECTORS]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_json_is_whole_however_long_it_is(count: int) -> None:
    assert answers.plain(list(range(count)), "application/json") == json.dumps(
        {"predictions": [{"score": score} for score in range(count)]}
    )


def test_old_tags_answer_in_one_line() -> None:
    assert answers.in_one_line(SCORES) == "0.25,0.5"
    assert answers.in_one_line(VECTORS) == "[0.25, 0.75],[0.5, 0.5]"
    assert answers.in_one_line(SCORES, batch=True) == "0.25\n0.5\n"


def test_selected_content_in_each_type() -> None:
    keys = ("probabilities", "predicted_label")
    rows = selectable.select([0.75, 0.25], keys, "binary:logistic", 0)
    assert answers.selected(rows, keys, "text/csv") == '"[0.25, 0.75]",1\n"[0.75, 0.25]",0'
    assert answers.selected(rows, keys, "text/csv", batch=True).endswith(",0\n")
    expected = [{"probabilities": [0.25, 0.75], "predicted_label": 1}, {"probabilities": [0.75, 0.25], "predicted_label": 0}]
    assert json.loads(answers.selected(rows, keys, "application/json")) == {"predictions": expected}
    assert [json.loads(line) for line in answers.selected(rows, keys, "application/jsonlines").splitlines()] == expected
    assert labels(answers.selected(rows, keys, "application/x-recordio-protobuf")) == [
        {"probabilities": [0.25, 0.75], "predicted_label": [1.0]},
        {"probabilities": [0.75, 0.25], "predicted_label": [0.0]},
    ]


ALL = ("predicted_label", "labels", "probability", "probabilities", "raw_score", "raw_scores", "predicted_score", "nonsense")
CONTENT = [
    ("reg:squarederror", 0, 2.5, {"predicted_score": 2.5}),
    ("reg:logistic", 0, 0.5, {"predicted_score": 0.5}),
    ("reg:tweedie", 0, 2.5, {"predicted_score": 2.5}),
    ("reg:gamma", 0, 2.5, {"predicted_score": 2.5}),
    ("reg:absoluteerror", 0, 2.5, {"predicted_score": 2.5}),
    (
        "binary:logistic",
        0,
        0.75,
        {
            "predicted_label": 1,
            "labels": [0, 1],
            "probability": 0.75,
            "probabilities": [0.25, 0.75],
            "raw_score": 0.75,
            "raw_scores": [0.25, 0.75],
        },
    ),
    ("binary:logitraw", 0, -7.0, {"predicted_label": 0, "labels": [0, 1], "raw_score": -7.0, "raw_scores": [8.0, -7.0]}),
    ("binary:hinge", 0, 1.0, {"predicted_label": 1.0, "labels": [0, 1], "raw_score": 1.0, "raw_scores": [0.0, 1.0]}),
    ("multi:softmax", 3, 2.0, {"predicted_label": 2.0, "labels": [0, 1, 2], "raw_score": 2.0, "raw_scores": [-1.0, 2.0]}),
    (
        "multi:softprob",
        3,
        [0.125, 0.75, 0.125],
        {
            "predicted_label": 1,
            "labels": [0, 1, 2],
            "probability": 0.75,
            "probabilities": [0.125, 0.75, 0.125],
            "raw_score": 0.75,
            "raw_scores": [0.125, 0.75, 0.125],
        },
    ),
]


@pytest.mark.parametrize(("objective", "classes", "prediction", "content"), CONTENT, ids=[row[0] for row in CONTENT])
def test_each_objective_has_its_content(objective: str, classes: int, prediction: object, content: dict[str, object]) -> None:
    [row] = selectable.select([prediction], ALL, objective, classes)
    assert list(row) == list(ALL)
    assert {key: value for key, value in row.items() if isinstance(value, list) or not math.isnan(value)} == content


def test_other_objectives_have_none() -> None:
    with pytest.raises(selectable.NotSupported, match="Objective `rank:pairwise` unsupported for selectable inference"):
        selectable.select([1.0], ALL, "rank:pairwise", 0)


@pytest.mark.parametrize(("objective", "between"), [("binary:logistic", 0.5), ("binary:logitraw", 0.0)])
def test_a_score_between_the_classes_is_of_the_first(objective: str, between: float) -> None:
    rows = selectable.select([between, between + 1e-6], ("predicted_label",), objective, 0)
    assert [row["predicted_label"] for row in rows] == [0, 1]


@pytest.mark.parametrize("accept", ["text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"])
def test_batch_transform_gets_lines_whatever_it_accepts(accept: str) -> None:
    assert answers.plain(SCORES, accept, batch=True) == "0.25\n0.5\n"
