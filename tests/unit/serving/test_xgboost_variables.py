"""What the variables of an XGBoost instance mean, by the tag of its image."""

import tomllib
from pathlib import Path

import pytest
from tests.support.xgboost_serving import IMAGE, tags, variables

MIB = 1024 * 1024


@pytest.mark.parametrize("directory", ["sagemaker-xgboost", "sagemaker-xgboost-3.2", "xgboost"])
def test_the_server_knows_every_tag_of_its_images(directory: str) -> None:
    for tag in tomllib.loads((IMAGE.parent / directory / "image.toml").read_text())["tags"]:
        assert tag.startswith(tags.tag_of(tag).name)


@pytest.mark.parametrize("tag", ["0.90", "1.7-1-gpu-py3", "", "latest-cpu-py3-x"])
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"is not known; expected one of 1, latest, 0\.90-1, "):
        tags.tag_of(tag)


def test_tags_differ_as_their_servers_did() -> None:
    facts = {tag: tags.tag_of(tag) for tag in ("0.90-1-cpu-py3", "1.0-1", "1.2-1", "1.2-2", "1.7-1", "3.0-5", "3.2-0")}
    assert [tag for tag, fact in facts.items() if not fact.accepts] == ["0.90-1-cpu-py3", "1.0-1", "1.2-1"]
    assert [tag for tag, fact in facts.items() if not fact.ensembles] == ["0.90-1-cpu-py3", "1.0-1", "1.2-1"]
    assert [tag for tag, fact in facts.items() if not fact.selects] == ["0.90-1-cpu-py3"]
    assert [tag for tag, fact in facts.items() if fact.files_know_best] == ["1.7-1"]
    assert [tag for tag, fact in facts.items() if fact.shifts_libsvm] == ["3.2-0"]


def read(tag: str = "1.7-1", **environ: str) -> variables.Variables:
    return variables.read(environ, tags.tag_of(tag))


def test_defaults() -> None:
    found = read()
    assert (found.model_dir, found.port, found.ensemble, found.batch) == (Path("/opt/ml/model"), 8080, True, False)
    assert (found.body_bytes_max, found.output_keys, found.program, found.default_accept) == (6 * MIB, None, "", "")
    assert 1 <= found.workers <= 4
    assert read("0.90-1").body_bytes_max is None


def test_values() -> None:
    found = read(
        SAGEMAKER_BASE_DIR="/x",
        SAGEMAKER_BIND_TO_PORT="20001",
        SAGEMAKER_MODEL_SERVER_WORKERS="2",
        MAX_CONTENT_LENGTH="20971520",
        SAGEMAKER_INFERENCE_OUTPUT="Predicted_Label, probabilities",
        SAGEMAKER_INFERENCE_ENSEMBLE="false",
        SAGEMAKER_BATCH="true",
        SAGEMAKER_CONTAINER_LOG_LEVEL="10",
    )
    assert (found.model_dir, found.port, found.workers, found.body_bytes_max) == (Path("/x/model"), 20001, 2, 20 * MIB)
    assert (found.output_keys, found.ensemble, found.batch) == (("predicted_label", "probabilities"), False, True)
    assert found.log_level == 10
    assert read("0.90-1", MAX_CONTENT_LENGTH="7").body_bytes_max == 7
    assert read("0.90-2", SAGEMAKER_INFERENCE_OUTPUT="labels").output_keys is None


def test_the_sdk_sets_variables_to_nothing() -> None:
    """It names an empty program and directory for a model that has no script."""
    found = read(SAGEMAKER_PROGRAM="", SAGEMAKER_SUBMIT_DIRECTORY="", SAGEMAKER_MODEL_SERVER_WORKERS="", SAGEMAKER_MULTI_MODEL="")
    assert (found.program, found.workers) == ("", variables.default_workers())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_CONTENT_LENGTH", "6MB"),
        ("MAX_CONTENT_LENGTH", "-1"),
        ("MAX_CONTENT_LENGTH", "9" * 30),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "½"),
        ("SAGEMAKER_BIND_TO_PORT", "http"),
    ],
)
def test_what_is_no_number_is_refused(name: str, value: str) -> None:
    with pytest.raises(variables.Wrong, match=f"{name} must be a whole number above 0, got '{value}'"):
        read(**{name: value})


def test_several_models_behind_one_server_are_refused() -> None:
    with pytest.raises(variables.Wrong, match="SAGEMAKER_MULTI_MODEL is set"):
        read(SAGEMAKER_MULTI_MODEL="true")


@pytest.mark.parametrize(("value", "together"), [("true", True), ("false", False), ("True", False), ("1", False), ("", False)])
def test_models_answer_together_where_the_variable_is_true(value: str, together: bool) -> None:
    """AWS: compared with "true", and nothing else (serve_utils.py: is_ensemble_enabled)."""
    assert read(SAGEMAKER_INFERENCE_ENSEMBLE=value).ensemble is together


@pytest.mark.parametrize(("processors", "workers"), [(1, 1), (3, 3), (4, 4), (64, 4)])
def test_there_is_a_worker_for_each_of_four_processors(monkeypatch: pytest.MonkeyPatch, processors: int, workers: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    assert read().workers == workers


def test_only_old_libraries_ignored_columns_that_a_model_has_not() -> None:
    assert [tag for tag in ("1", "0.90-1", "0.90-2", "1.0-1", "1.7-1", "3.2-0") if tags.tag_of(tag).ignores_more_columns] == [
        "1", "0.90-1", "0.90-2",
    ]  # fmt: skip
