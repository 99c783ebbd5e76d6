"""Which model files the XGBoost image reads, and what several of them answer together."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest
import xgboost
from tests.support.xgboost_serving import MODELS, models, tags

MODERN = tags.tag_of("3.0-5")
ROWS = numpy.array([[0.1, 0.2, 0.3], [-1, 2, numpy.nan], [1, -1, 1]], numpy.float32)
OLD = [
    file
    for file in sorted(MODELS.iterdir())
    if file.suffix in (".binary", ".json", ".ubj", ".pickle") and "expected" not in file.name
]


def what(file: Path) -> tuple[dict[str, list[float]], str]:
    """What a model's own version predicted, and how the model was made."""
    version, _, made = file.stem.partition("-")
    return json.loads((MODELS / f"{version}-expected.json").read_text()), made


def loaded(directory: Path, files: dict[str, bytes], tag: Any = MODERN, *, ensemble: bool = True) -> Any:
    for name, body in files.items():
        (directory / name).write_bytes(body)
    return models.load(directory, tag=tag, ensemble=ensemble)


def saved(booster: xgboost.Booster, form: str = "ubj") -> bytes:
    return bytes(booster.save_raw(form))


def trained(objective: str, seed: int = 1, rounds: int = 3, **parameters: Any) -> xgboost.Booster:
    random = numpy.random.default_rng(seed)
    rows = random.normal(size=(100, 3))
    label = (rows @ [1, -2, 0.5] > 0).astype(int) + (rows[:, 0] > 1 if objective.startswith("multi") else 0)
    return xgboost.train(
        {"objective": objective, "seed": seed, **parameters}, xgboost.DMatrix(rows, label), num_boost_round=rounds
    )


@pytest.mark.parametrize("file", [file for file in OLD if not file.name.startswith("3.")], ids=lambda file: file.name)
def test_models_of_old_versions_predict_what_they_did(tmp_path: Path, file: Path) -> None:
    expected, made = what(file)
    found = loaded(tmp_path, {"xgboost-model": file.read_bytes()})
    kind = {"": "plain", "wrapper": "wrapper", "stopped": "best trees" if file.suffix == ".pickle" else "all trees"}[made]
    assert found.columns == 3
    numpy.testing.assert_allclose(found.predict(xgboost.DMatrix(ROWS)), expected[kind], atol=2e-6)


@pytest.mark.parametrize("version", ["1.5.2", "1.7.6"])
@pytest.mark.parametrize(
    ("tag", "kind"), [("1.3-1", "all trees"), ("1.5-1", "best trees"), ("1.7-1", "best trees"), ("3.0-5", "all trees")]
)
def test_model_files_end_at_the_best_iteration_where_the_tag_does(tmp_path: Path, version: str, tag: str, kind: str) -> None:
    file = MODELS / f"{version}-stopped.binary"
    found = loaded(tmp_path, {"xgboost-model": file.read_bytes()}, tags.tag_of(tag))
    numpy.testing.assert_allclose(found.predict(xgboost.DMatrix(ROWS)), what(file)[0][kind], atol=2e-6)


def test_pickles_of_the_present_version_are_read(tmp_path: Path) -> None:
    booster = trained("reg:squarederror")
    wrapper = xgboost.XGBModel.__new__(xgboost.XGBModel)  # a whole one needs scikit-learn
    wrapper._Booster = booster
    for number, model in enumerate((booster, wrapper)):
        (tmp_path / str(number)).mkdir()
        found = loaded(tmp_path / str(number), {"xgboost-model": pickle.dumps(model)})
        numpy.testing.assert_array_equal(found.predict(xgboost.DMatrix(ROWS)), booster.predict(xgboost.DMatrix(ROWS)))


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    """The library itself goes by the ending, and the format of 0.90 had none."""
    expected, _ = what(MODELS / "0.90.binary")
    found = loaded(tmp_path, {"model.json": (MODELS / "0.90.binary").read_bytes(), ".hidden": b"x"})
    numpy.testing.assert_allclose(found.predict(xgboost.DMatrix(ROWS)), expected["plain"], atol=2e-6)


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "multi:softprob", "rank:pairwise", "count:poisson"])
def test_several_models_answer_with_their_mean(tmp_path: Path, objective: str) -> None:
    more = {"num_class": 3} if objective.startswith("multi") else {}
    boosters = [trained(objective, seed, **more) for seed in (1, 2, 3)]
    found = loaded(tmp_path, {f"model-{number}": saved(booster) for number, booster in enumerate(boosters)})
    mean = numpy.mean([booster.predict(xgboost.DMatrix(ROWS)) for booster in boosters], axis=0)
    numpy.testing.assert_allclose(found.predict(xgboost.DMatrix(ROWS)), mean)
    first = loaded(tmp_path, {}, ensemble=False)
    numpy.testing.assert_array_equal(first.predict(xgboost.DMatrix(ROWS)), boosters[0].predict(xgboost.DMatrix(ROWS)))


def test_several_models_vote_on_a_class(tmp_path: Path) -> None:
    boosters = [trained("multi:softmax", seed, rounds=1, num_class=3, max_depth=1) for seed in (1, 2, 3)]
    found = loaded(tmp_path, {f"model-{number}": saved(booster) for number, booster in enumerate(boosters)})
    rows = xgboost.DMatrix(numpy.random.default_rng(5).normal(size=(50, 3)))
    votes = numpy.array([booster.predict(rows) for booster in boosters]).astype(int)
    expected = [numpy.bincount(column).argmax() for column in votes.T]
    assert (votes != votes[0]).any(), "they are of different opinions"
    numpy.testing.assert_array_equal(found.predict(rows), expected)
    assert (found.objective, found.classes) == ("multi:softmax", 3)


def test_between_equal_votes_the_lower_class_wins() -> None:
    votes = [numpy.array([2.0, 1.0, 0.0]), numpy.array([1.0, 2.0, 0.0])]
    numpy.testing.assert_array_equal(models.vote(votes), [1.0, 1.0, 0.0])


def test_linear_models_predict_one_at_a_time(tmp_path: Path) -> None:
    booster = trained("reg:squarederror", booster="gblinear")
    found = loaded(tmp_path, {"xgboost-model": saved(booster)})
    assert found._lock is not None
    numpy.testing.assert_array_equal(found.predict(xgboost.DMatrix(ROWS)), booster.predict(xgboost.DMatrix(ROWS)))


class Unknown:
    pass


@pytest.mark.parametrize(
    ("files", "tag", "said"),
    [
        ({}, "1.7-1", "there is no file in the model directory"),
        ({".hidden": b"x"}, "1.7-1", "there is no file in the model directory"),
        (
            {"a": b"1", "b": b"2"},
            "1.2-1",
            "2 files in the model directory (a, b); one model a container is supported by tag 1.2-1",
        ),
        ({"xgboost-model": b"this is no model"}, "1.7-1", "xgboost-model is no model that XGBoost 3.0.5 can read"),
        ({"xgboost-model": b""}, "1.7-1", "xgboost-model is no model that XGBoost 3.0.5 can read"),
        ({"xgboost-model": b"{}"}, "1.7-1", "xgboost-model is no model that XGBoost 3.0.5 can read"),
        ({"xgboost-model": b"\x80\x04junk"}, "1.7-1", "it looks like a pickle, which cannot be read: UnpicklingError"),
        ({"xgboost-model": pickle.dumps({"a": 1})}, "1.7-1", "it is a pickle of dict; expected xgboost.Booster"),
        ({"xgboost-model": pickle.dumps(Unknown())}, "1.7-1", "it is a pickle of Unknown; expected xgboost.Booster"),
        ({"xgboost-model": pickle.dumps(xgboost.XGBRegressor.__mro__[0])}, "1.7-1", "a pickle of type"),
    ],
    ids=["none", "hidden", "two", "junk", "empty", "no json", "broken pickle", "pickled dict", "pickled object", "pickled class"],
)
def test_what_cannot_be_loaded_says_why(tmp_path: Path, files: dict[str, bytes], tag: str, said: str) -> None:
    with pytest.raises(models.CannotLoad) as refused:
        loaded(tmp_path, files, tags.tag_of(tag))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_loader_loads_once_and_fails_each_time() -> None:
    numbers = iter(range(2))
    loader = models.Loader(lambda: next(numbers))
    assert (loader(), loader()) == (0, 0)
    failing = models.Loader(lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing()


def test_a_pickle_is_known_as_one(tmp_path: Path) -> None:
    """Its rows may have a column more or less."""
    booster = trained("reg:squarederror")
    for name, content in (("a", pickle.dumps(booster)), ("b", saved(booster))):
        (tmp_path / name).mkdir()
        assert loaded(tmp_path / name, {"xgboost-model": content}).pickled == (name == "a")


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    """Protocol 2, with texts that are bytes (here one that is no ASCII) and a bytearray as Python 2 writes it."""
    handle = bytes((MODELS / "0.90.binary").read_bytes()).decode("latin-1").encode()
    state = (
        b"(U\x06handlec__builtin__\nbytearray\n(X" + len(handle).to_bytes(4, "little") + handle + b"U\x07latin-1tR"
        b"U\x04noteU\x02\xe9\xffu"
    )  # fmt: skip
    model = b"\x80\x02cxgboost.core\nBooster\n)\x81}" + state + b"b."
    found = loaded(tmp_path, {"xgboost-model": model})
    expected, _ = what(MODELS / "0.90.binary")
    numpy.testing.assert_allclose(found.predict(xgboost.DMatrix(ROWS)), expected["plain"], atol=2e-6)


@pytest.mark.parametrize("kind", ["file", "stopped early"])
def test_a_model_has_one_thread_for_each_request(tmp_path: Path, kind: str) -> None:
    name = "1.7.6-stopped.pickle" if kind == "stopped early" else "1.7.6.ubj"
    [member] = loaded(tmp_path, {"xgboost-model": (MODELS / name).read_bytes()})._members
    assert json.loads(member.booster.save_config())["learner"]["generic_param"]["nthread"] == "1"


def test_models_with_hinge_loss_vote(tmp_path: Path) -> None:
    boosters = [trained("binary:hinge", seed, rounds=1, max_depth=1) for seed in (1, 2, 3)]
    found = loaded(tmp_path, {f"model-{number}": saved(booster) for number, booster in enumerate(boosters)})
    rows = xgboost.DMatrix(numpy.random.default_rng(5).normal(size=(50, 3)))
    votes = numpy.array([booster.predict(rows) for booster in boosters])
    assert (votes != votes[0]).any(), "they are of different opinions"
    numpy.testing.assert_array_equal(found.predict(rows), (votes.sum(axis=0) >= 2).astype(float))
