"""The modules of sagemaker_containers.beta.framework that scripts import, the same in all images that have the package."""

import importlib
import io
import runpy
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from tests.support.serving_common import SERVING, script_worker

FRAMEWORK = "sagemaker_containers.beta.framework"


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [str(SERVING / "sagemaker-scikit-learn"), *sys.path])
    yield importlib.import_module(FRAMEWORK)
    for name in [name for name in sys.modules if name.startswith("sagemaker_containers")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "array"), [("1,2", [1, 2]), ("1\n2\n", [1, 2]), ("1,2\n3,4", [[1, 2], [3, 4]])], ids=["row", "column", "both"]
)
def test_csv_of_one_row_or_column_has_one_dimension(framework: Any, text: str, array: list[Any]) -> None:
    """AWS: squeezed (aws/sagemaker-containers, _encoders.py: csv_to_numpy)."""
    numpy.testing.assert_array_equal(framework.encoders.csv_to_numpy(text), numpy.array(array, float), strict=True)
    numpy.testing.assert_array_equal(framework.encoders.decode(text, "text/csv"), numpy.array(array, float))


@pytest.mark.parametrize("kind", ["JSON", "CSV", "NPY"])
def test_arrays_come_back(framework: Any, kind: str) -> None:
    content_type, array = getattr(framework.content_types, kind), numpy.array([[1.5, 2], [3, 4]])
    numpy.testing.assert_array_equal(
        framework.encoders.decode(framework.encoders.encode(array, content_type), content_type), array
    )


class Runs:
    """Unpickled, it runs what it names."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('run')",)


def pickled() -> bytes:
    stream = io.BytesIO()
    numpy.save(stream, numpy.array([Runs()], dtype=object))
    return stream.getvalue()


@pytest.mark.parametrize("body", [pickled(), b"\x80\x04no array", b""], ids=["objects", "no array", "empty"])
def test_no_pickled_object_is_loaded(framework: Any, body: bytes) -> None:
    """It would be run: whoever may ask the model could do as the instance may. 415, as for a type that nobody knows."""
    with pytest.raises(framework.errors.UnsupportedFormatError, match=r"application/x-npy \(pickled objects are not loaded"):
        framework.encoders.decode(body, "application/x-npy")
    worker = runpy.run_path(str(SERVING / "sagemaker-scikit-learn" / "worker.py"))
    own = SimpleNamespace(model_fn=lambda _: None, predict_fn=lambda data, model: data)
    functions = script_worker.Functions(own, SimpleNamespace(**worker))
    try:
        status, _, said = script_worker.answered(functions, {"Content-Type": "application/x-npy"}, body)
    finally:
        del sys.modules["arrays"]
    assert (status, b"pickled objects are not loaded" in said) == (415, True)


def test_other_types_are_refused_by_name(framework: Any) -> None:
    for code in (framework.encoders.encode, framework.encoders.decode):
        with pytest.raises(framework.errors.UnsupportedFormatError, match="image/png is not supported"):
            code(b"", "image/png")


def test_what_an_example_imports_is_there(framework: Any) -> None:
    for name in ("content_types", "encoders", "env", "errors", "modules", "transformer", "worker"):
        assert hasattr(framework, name)
    assert framework.worker.Response("é", mimetype="text/plain").get_data() == "é".encode()
    with pytest.raises(AttributeError, match=r"framework\.env\.TrainingEnv is not there"):
        _ = framework.env.TrainingEnv
