"""The modules of sagemaker_containers.beta.framework that scripts import, the same in all images that have the package."""

import importlib
import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
from tests.support.serving_common import SERVING

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


def test_no_pickled_object_is_loaded(framework: Any) -> None:
    """It would be run: whoever may ask the model could do as the instance may."""
    stream = io.BytesIO()
    numpy.save(stream, numpy.array([{}], dtype=object))
    arrays = importlib.import_module("arrays")
    for load in (framework.encoders.npy_to_numpy, arrays.from_npy):
        with pytest.raises(ValueError, match="allow_pickle=False"):
            load(stream.getvalue())
    del sys.modules["arrays"]


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
