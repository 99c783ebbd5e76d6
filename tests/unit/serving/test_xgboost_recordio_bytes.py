"""recordio-protobuf against bytes that were written by hand from AWS's description, and not with the code that is tested.

AWS, repository aws/sagemaker-containers: the magic number, the length and the filling to whole words (``_recordio.py``), and the
numbers of the fields (``record.proto``): Record has features = 1 and label = 2, maps of Value; Value has float32_tensor = 2,
float64_tensor = 3, int32_tensor = 7; a tensor has values = 1, keys = 2 and shape = 3, packed.
"""

import numpy
import pytest
import scipy.sparse  # type: ignore[import-untyped]
from tests.support.xgboost_serving import recordio

VALUES = "06" + b"values".hex()
FLOATS = "0a16 0a" + VALUES + "120c 120a 0a08 0000c03f 000000c0"
"""A feature: float32 1.5 and -2."""
LABEL = "1212 0a" + VALUES + "1208 1206 0a04 0000e040"
"""A label: float32 7."""


def framed(record: str) -> bytes:
    body = bytes.fromhex(record)
    return bytes.fromhex("0a23d7ce") + len(body).to_bytes(4, "little") + body + bytes(-len(body) % 4)


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (FLOATS, [1.5, -2]),
        (FLOATS + LABEL, [1.5, -2]),
        (LABEL + FLOATS, [1.5, -2]),
        ("0a1e 0a" + VALUES + "1214 1a12 0a10 000000000000f83f 00000000000000c0", [1.5, -2]),
        ("0a10 0a" + VALUES + "1206 3a04 0a02 0304", [3, 4]),
    ],
    ids=["float32", "with a label", "label first", "float64", "int32"],
)
def test_dense_records(record: str, row: list[float]) -> None:
    numpy.testing.assert_array_equal(recordio.read(framed(record) + framed(record)), numpy.array([row, row], numpy.float32))


def test_a_label_alone_is_no_feature() -> None:
    with pytest.raises(ValueError, match='record 1 has no feature "values"'):
        recordio.read(framed(LABEL))


def test_sparse_records_with_a_dense_one_among_them() -> None:
    """Value 3 in column 1 of 2; the dense one names no columns and has all."""
    sparse = "0a18 0a" + VALUES + "120e 120c 0a04 00004040 1201 01 1a01 02"
    matrix = recordio.read(framed(sparse) + framed(FLOATS) + framed(sparse))
    assert scipy.sparse.issparse(matrix)
    numpy.testing.assert_array_equal(matrix.toarray(), [[0, 3], [1.5, -2], [0, 3]])
    assert matrix.nnz == 4, "what a sparse record does not name is missing, not 0"


def test_answers() -> None:
    """The label ``score`` with one float32, 0.5: nineteen bytes, and one that fills the word."""
    expected = "0a23d7ce 13000000 1211 0a05 73636f7265 1208 1206 0a04 0000003f 00"
    assert recordio.write([{"score": [0.5]}]) == bytes.fromhex(expected)
