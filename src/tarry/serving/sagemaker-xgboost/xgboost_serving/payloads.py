"""Reads what clients send - csv, libsvm, recordio-protobuf - into a matrix.

Small parsers of our own: the library reads such text only from files, and shifts or guesses indices where the container did not.
"""

import codecs
import csv
import io
from array import array
from dataclasses import dataclass

import numpy
import scipy.sparse
import xgboost

from xgboost_serving import recordio

CSV, LIBSVM, RECORDIO, PARQUET = "csv", "libsvm", "recordio-protobuf", "parquet"
NAMES = {
    "csv": CSV,
    "text/csv": CSV,
    "libsvm": LIBSVM,
    "text/libsvm": LIBSVM,
    "text/x-libsvm": LIBSVM,
    "recordio-protobuf": RECORDIO,
    "application/x-recordio-protobuf": RECORDIO,
    "parquet": PARQUET,
    "application/x-parquet": PARQUET,
}
INDEX_MAX = 2**31 - 2
BLOCK_LINES = 1000


class NotAccepted(Exception):
    """The payload cannot be read; the text is the answer's body."""


@dataclass(frozen=True)
class Payload:
    """The rows of a body. ``sparse``: their columns are named one by one, so that there may be fewer than the model knows."""

    content_type: str
    sparse: bool
    columns: int
    rows: xgboost.DMatrix

    def first_columns(self, count):
        """The rows without the columns after these."""
        return xgboost.DMatrix(self.rows.get_data()[:, :count], nthread=1)


# AWS: which types there are, that none means libsvm, and the texts (aws/sagemaker-xgboost-container, data_utils.py).


def content_type_of(header):
    """What a Content-Type means: CSV, LIBSVM or RECORDIO. None is libsvm; case does not matter. Raises NotAccepted."""
    if header is None:
        return LIBSVM
    name, *parameters = (part.strip() for part in header.lower().split(";"))
    content_type = NAMES.get(name)
    if content_type is None:
        accepted = ", ".join(name for name, kind in NAMES.items() if kind != PARQUET)
        raise NotAccepted(f"{header} is not an accepted ContentType: {accepted}.")
    if content_type == PARQUET:
        raise NotAccepted(f"Content-type {header} is not supported.")
    pairs = (parameter.partition("=") for parameter in parameters)
    values = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
    if content_type == CSV and values.get("label_size", "1") != "1":
        raise NotAccepted(f"{header} is not an accepted csv ContentType. Optional parameter label_size must be equal to 1")
    return content_type


def read(body, content_type, *, shifts_libsvm=False):
    """The payload of a body. Raises NotAccepted for bytes that are not what they are said to be."""
    try:
        with numpy.errstate(over="ignore"):  # what is too large for 32 bits becomes infinite, which the library refuses
            matrix = _matrix(body, content_type, shifts_libsvm)
        rows = xgboost.DMatrix(matrix, nthread=1)
    except (ValueError, OverflowError, xgboost.core.XGBoostError) as error:
        reason = str(error).partition("\nStack trace")[0]
        if content_type == RECORDIO:
            raise NotAccepted(
                "Loading recordio-protobuf data failed with Exception, please ensure data is in recordio-protobuf format: "
                f"{type(error)} {reason}"
            ) from error
        raise NotAccepted(
            f"Loading {content_type} data failed with Exception, please ensure data is in {content_type} format:\n"
            f" {type(error)}\n {reason}"
        ) from error
    return Payload(content_type, scipy.sparse.issparse(matrix), matrix.shape[1], rows)


def _matrix(body, content_type, shifts_libsvm):
    if content_type == RECORDIO:
        return recordio.read(body)
    body = body.removeprefix(codecs.BOM_UTF8).strip(b"\r\n ")
    if not body:
        raise ValueError("there is not one row")
    lines = io.TextIOWrapper(io.BytesIO(body), "utf-8", newline="\n")
    return read_csv(lines) if content_type == CSV else read_libsvm(lines, shifts=shifts_libsvm)


def read_csv(lines):
    """Dense rows of numbers, without a label; an empty cell is a missing value. Every line is a row, an empty one too.

    In blocks: numpy keeps Python's lock while it converts, and a ping must get through in between.
    """
    blocks, block, delimiter, width = [], [], ",", 0
    for number, line in enumerate(lines, 1):
        line = line.strip("\r\n ")
        if number == 1:
            delimiter = delimiter_of(line)
            width = len(line.split(delimiter))
        if "_" in line:
            raise ValueError(f"line {number}: a number has no underscore")  # Python's have
        row = [cell.strip() or "nan" for cell in line.split(delimiter)]
        if len(row) != width:
            raise ValueError(f"line {number} has {len(row)} values, the first line has {width}")
        block.append(row)
        if len(block) == BLOCK_LINES:
            blocks.append(_numbers(block, number))
            block = []
    if block:
        blocks.append(_numbers(block, number))
    return numpy.concatenate(blocks)


def _numbers(rows, last_number):
    try:
        return numpy.array(rows, dtype=object).astype(numpy.float32)
    except ValueError as error:
        raise ValueError(f"{error} (lines {last_number - len(rows) + 1} to {last_number})") from error


def delimiter_of(line):
    """What separates the cells: found by looking at the first line, a comma if that says nothing."""
    if "," in line:
        return ","
    try:
        return csv.Sniffer().sniff(line[:512], delimiters=";|\t ").delimiter
    except csv.Error:
        return ","


def read_libsvm(lines, *, shifts=False):
    """Sparse rows ``[label] index:value ...``; what is absent is missing. Every line is a row, an empty one too.

    The indices are columns as they stand, unless they are to be shifted and none is 0.
    """
    values, indices, starts = array("f"), array("i"), array("q", [0])  # lists of millions of numbers are slow to become matrices
    for number, line in enumerate(lines, 1):
        for token in line.split("#", 1)[0].split():
            if "_" in token:
                raise ValueError(f"line {number}: {token!r} has an underscore")  # Python's numbers may
            index, colon, value = token.partition(":")
            if index == "qid":
                continue
            if colon:
                indices.append(_index_of(index, number))
                values.append(_number_of(value, number))
            elif starts[-1] == len(values):
                _number_of(token, number)  # the label; it is not needed
            else:
                raise ValueError(f"line {number}: {token!r} is not index:value")
        starts.append(len(values))
    columns = numpy.array(indices, numpy.int32)
    if shifts and len(columns) and columns.min() > 0:
        columns -= 1
    triple = (numpy.array(values, numpy.float32), columns, numpy.array(starts, numpy.int64))
    width = max(int(columns.max(initial=0)) + 1, 1)
    matrix = scipy.sparse.csr_matrix(triple, shape=(len(starts) - 1, width))
    matrix.sum_duplicates()
    return matrix


def _index_of(text, line_number):
    try:
        index = int(text)
    except ValueError:
        raise ValueError(f"line {line_number}: the index {text!r} is not a whole number") from None
    if not 0 <= index <= INDEX_MAX:
        raise ValueError(f"line {line_number}: the index {index} is not between 0 and {INDEX_MAX}")
    return index


def _number_of(text, line_number):
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"line {line_number}: {text!r} is not a number") from None
