"""What clients send to the XGBoost image, and what they send by mistake."""

import io
from typing import Any

import numpy
import pytest
import scipy.sparse  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.xgboost_serving import payloads, recordio

NUMBERS = st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6))
ROWS = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=8)
)
ENDINGS = st.sampled_from(["\n", "\r\n"])
SPARSE = st.lists(st.dictionaries(st.integers(0, 40), st.floats(width=32, allow_nan=False, allow_infinity=False)), min_size=1)


def dense(rows: list[list[Any]]) -> numpy.ndarray:
    return numpy.array([[numpy.nan if cell is None else cell for cell in row] for row in rows], numpy.float64).astype(
        numpy.float32
    )


def array(matrix: Any) -> numpy.ndarray:
    """A matrix with what is absent as NaN."""
    coo = matrix.tocoo()
    filled = numpy.full(matrix.shape, numpy.nan, numpy.float32)
    filled[coo.row, coo.col] = coo.data
    return filled


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, "libsvm"),
        ("text/csv", "csv"),
        ("CSV", "csv"),
        ("Text/CSV; charset=UTF-8", "csv"),
        ("text/csv;label_size=1", "csv"),
        ("text/csv; charset=utf-8; label_size = 1", "csv"),
        ('text/csv; label_size="1"', "csv"),
        ("libsvm", "libsvm"),
        ("text/libsvm ;charset=utf8; label_size=2", "libsvm"),
        ("text/x-libsvm", "libsvm"),
        ("recordio-protobuf", "recordio-protobuf"),
        ("application/x-recordio-protobuf", "recordio-protobuf"),
    ],
)
def test_content_types(header: str | None, kind: str) -> None:
    assert payloads.content_type_of(header) == kind


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("application/json", "application/json is not an accepted ContentType: csv, text/csv, libsvm, "),
        ("", " is not an accepted ContentType: csv"),
        ("label_size=1; text/csv", "label_size=1; text/csv is not an accepted ContentType"),
        ("application/x-parquet", "Content-type application/x-parquet is not supported."),
        (
            "text/csv; label_size=5",
            "text/csv; label_size=5 is not an accepted csv ContentType. Optional parameter label_size must",
        ),
        ("text/csv; label_size=1=1", "Optional parameter label_size must be equal to 1"),
        ("text/csv; label_size=1; label_size=2", "Optional parameter label_size must be equal to 1"),
    ],
)
def test_content_types_that_are_refused(header: str, said: str) -> None:
    with pytest.raises(payloads.NotAccepted) as refused:
        payloads.content_type_of(header)
    assert said in str(refused.value)


@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;|\t"),
    ending=st.sampled_from(["\n", "\r\n"]),
    tail=st.sampled_from(["", "\n", "\r\n\n"]),
)
def test_csv_comes_back_as_it_was(rows: list[list[Any]], delimiter: str, ending: str, tail: str) -> None:
    cells = [["" if cell is None else repr(cell) for cell in row] for row in rows]
    # what begins or ends the text would be taken for space around it; one column has nothing between its cells
    if not cells[0][0] or not cells[-1][-1] or len(cells[0]) == 1 or delimiter == "\t":
        cells = [["0", "0", *row, "0"] for row in cells]
        rows = [[0, 0, *row, 0] for row in rows]
    text = ending.join(delimiter.join(row) for row in cells) + tail
    numpy.testing.assert_array_equal(payloads.read_csv(io.StringIO(text.strip("\r\n "))), dense(rows))


@given(rows=SPARSE)
def test_libsvm_comes_back_as_it_was(rows: list[dict[int, float]]) -> None:
    text = "\n".join(" ".join(["1", *(f"{index}:{value!r}" for index, value in row.items())]) for row in rows)
    matrix = payloads.read_libsvm(io.StringIO(text))
    width = max((index + 1 for row in rows for index in row), default=1)
    expected = [[row.get(column) for column in range(width)] for row in rows]
    numpy.testing.assert_array_equal(array(matrix), dense(expected))


@settings(max_examples=300)
@given(body=st.one_of(st.binary(max_size=60), st.text(alphabet="0123456789.,:;-+e \t\r\n#nainfqd", max_size=60).map(str.encode)))
@pytest.mark.parametrize("kind", ["csv", "libsvm", "recordio-protobuf"])
def test_any_bytes_are_read_or_refused(kind: str, body: bytes) -> None:
    try:
        payload = payloads.read(body, kind)
    except payloads.NotAccepted as refused:
        said = str(refused)
        assert said.startswith(f"Loading {kind} data failed with Exception, please ensure data is in {kind} format:")
        assert "Stack trace" not in said
    else:
        assert payload.rows.num_row() >= 1
        assert payload.rows.num_col() == payload.columns


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("csv", b"\n \r\n", "there is not one row"),
        ("csv", b"1,2\n\n3,4", "line 2 has 1 values, the first line has 2"),
        ("csv", b"1,2\n3,4,5", "line 2 has 3 values, the first line has 2"),
        ("csv", b"1,x", "could not convert string to float: 'x' (lines 1 to 1)"),
        ("csv", b"1,2\n1_0,2", "line 2: a number has no underscore"),
        ("libsvm", b"1 0:1\n1 1_0:2", "line 2: '1_0:2' has an underscore"),
        ("libsvm", b"1_0 0:1", "line 1: '1_0' has an underscore"),
        ("csv", "1,2\n3,４x".encode(), "(lines 1 to 2)"),
        ("csv", b"\xff\xfe1,2", "can't decode byte"),
        ("csv", b"1,inf", "inf"),
        ("libsvm", b" ", "there is not one row"),
        ("libsvm", b"\xef\xbb\xbf\n", "there is not one row"),
        ("libsvm", b"\xef", "can't decode byte"),
        ("libsvm", b"1 0:1\n1 x:2", "line 2: the index 'x' is not a whole number"),
        ("libsvm", b"1 -1:2", "the index -1 is not between 0 and 2147483646"),
        ("libsvm", b"1 99999999999:2", "is not between"),
        ("libsvm", b"1 1:2 3", "line 1: '3' is not index:value"),
        ("libsvm", b"1 1:a", "line 1: 'a' is not a number"),
        ("libsvm", b"a 1:2", "line 1: 'a' is not a number"),
        ("recordio-protobuf", b"", "No records found in RecordIO-Protobuf data"),
        ("recordio-protobuf", b"1,2,3,4,5,6", "Invalid RecordIO magic at offset 0"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(kind: str, body: bytes, said: str) -> None:
    with pytest.raises(payloads.NotAccepted) as refused:
        payloads.read(body, kind)
    assert said in str(refused.value)


def test_small_print_of_text() -> None:
    """A mark of Unicode, comments, query ids, labels alone, an index twice (which is summed, as scipy does for the container)."""
    numpy.testing.assert_array_equal(payloads.read_csv(io.StringIO("5\n\n7")), dense([[5], [None], [7]]))
    assert payloads.read("\ufeff1,2".encode(), "csv").columns == 2
    assert payloads.read(b"1\tnan\t3", "csv").columns == 3
    matrix = payloads.read_libsvm(io.StringIO("1 qid:7 0:1 2:4 # note 3:3\n0\n0:1 0:2"))
    numpy.testing.assert_array_equal(array(matrix), dense([[1, None, 4], [None] * 3, [3, None, None]]))


@pytest.mark.parametrize(("body", "columns"), [("1 1:5 3:6", 3), ("1 1:5\n1 0:6 3:7", 4), ("1", 1)])
def test_indices_from_1_are_shifted_where_the_tag_does(body: str, columns: int) -> None:
    assert payloads.read_libsvm(io.StringIO(body), shifts=True).shape[1] == columns


def records(matrix: Any, kind: str = "float32_tensor", label: float | None = None) -> bytes:
    """Records as the SDK writes them: dense ones have values, sparse ones keys and a shape too."""
    parts = []
    for row in matrix:
        record = recordio.Record()
        tensor = getattr(record.features["values"], kind)
        if scipy.sparse.issparse(matrix):
            tensor.keys.extend(row.tocsr().indices.tolist())
            tensor.shape.append(matrix.shape[1])
            tensor.values.extend(row.tocsr().data.tolist())
        else:
            tensor.values.extend(row.tolist())
        if label is not None:
            record.label["values"].float32_tensor.values.append(label)
        body = record.SerializeToString()
        parts.append(recordio.HEAD.pack(recordio.MAGIC, len(body)) + body + bytes(-len(body) % 4))
    return b"".join(parts)


@pytest.mark.parametrize("kind", ["float32_tensor", "float64_tensor", "int32_tensor"])
def test_dense_records(kind: str) -> None:
    rows = numpy.arange(12).reshape(3, 4)
    numpy.testing.assert_array_equal(recordio.read(records(rows, kind, label=1.0)), rows.astype(numpy.float32))


def test_sparse_records() -> None:
    rows = numpy.array([[0, 1.5, 0, 0], [0, 0, 0, 0], [2, 0, 0, 3]], numpy.float32)
    matrix = recordio.read(records(scipy.sparse.csr_matrix(rows)))
    numpy.testing.assert_array_equal(array(matrix), numpy.where(rows == 0, numpy.nan, rows))


def _record(**tensor: list[float]) -> bytes:
    record = recordio.Record()
    for field, values in tensor.items():
        getattr(record.features["values"].float32_tensor, field).extend(values)
    body = bytes(record.SerializeToString())
    return bytes(recordio.HEAD.pack(recordio.MAGIC, len(body))) + body + bytes(-len(body) % 4)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (_record(values=[1, 2]) + _record(values=[1]), "record 2 has 1 features, the first record has 2"),
        (_record(values=[1, 2]) + b"\x0a\x23", "the bytes end within the head of a record"),
        (_record(values=[1, 2])[:-4], "Truncated record at offset 8"),
        (recordio.HEAD.pack(recordio.MAGIC, 4) + b"\xff\xff\xff\xff", "record 1 is not a protobuf record"),
        (recordio.HEAD.pack(recordio.MAGIC, 0), 'record 1 has no feature "values"'),
        (_record(values=[1], keys=[1, 2]), "record 1 has 2 keys and 1 values"),
        (_record(values=[1], keys=[7], shape=[5]), "a key that is not below its 5 columns"),
        (_record(values=[1], keys=[2**63]), "or too many of these"),
        (_record(values=[1], keys=[0], shape=[2**40]), "or too many of these"),
    ],
)
def test_broken_records(body: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        recordio.read(body)
    assert said in str(refused.value)


@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), st.lists(st.floats(width=32, allow_nan=False)), max_size=3)))
def test_written_labels_can_be_read(rows: list[dict[str, list[float]]]) -> None:
    frames = [recordio.Record.FromString(bytes(frame)) for frame in recordio._frames(memoryview(recordio.write(rows)))]
    assert [{name: list(value.float32_tensor.values) for name, value in record.label.items()} for record in frames] == rows
