"""Reads what clients send, csv and libsvm, into a sparse or dense matrix.

Small parsers of our own: the library reads such text only from files, and shifts or guesses indices where the container did not.
"""

import csv
import io

import numpy
import scipy.sparse

CSV = ("text/csv",)
LIBSVM = ("text/libsvm", "text/x-libsvm")
SHORT_NAMES = {"csv": "text/csv", "libsvm": "text/libsvm"}
INDEX_MAX = 2**31 - 2
BLOCK_LINES = 1000


class NotAccepted(Exception):
    """The payload cannot be read; the text is the answer's body."""


def content_type_of(header):
    """The payload's type: parameters and case do not matter, and none means libsvm."""
    name = (header or "text/libsvm").split(";")[0].strip().lower()
    name = SHORT_NAMES.get(name, name)
    if name not in CSV + LIBSVM:
        accepted = ", ".join(CSV + LIBSVM)
        raise NotAccepted(f"{name} is not an accepted ContentType: {accepted}.")
    return name


def parse(body, content_type, columns):
    """The matrix of a body. ``columns`` is how many the model knows: a sparse matrix may have fewer of its own.

    Raises NotAccepted for text that is not what it is said to be.
    """
    form = "csv" if content_type in CSV else "libsvm"
    lines = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig")
    try:
        return parse_csv(lines) if form == "csv" else parse_libsvm(lines, columns)
    except (ValueError, OverflowError) as error:
        # AWS: the beginning of the text that the container answers with (sagemaker-xgboost-container, 0.90-1).
        raise NotAccepted(
            f"Loading {form} data failed with Exception, please ensure data is in {form} format:\n {type(error)}\n {error}"
        ) from error


def parse_csv(lines):
    """Dense rows of numbers, without a label; an empty cell is a missing value.

    In blocks: numpy keeps Python's lock while it converts, and a ping must get through in between.
    """
    blocks, block, delimiter, width = [], [], None, 0
    for number, line in enumerate(lines, 1):
        line = line.strip("\r\n ")
        if not line:
            continue
        if delimiter is None:
            delimiter = delimiter_of(line)
            width = len(line.split(delimiter))
        row = [cell.strip() or "nan" for cell in line.split(delimiter)]
        if len(row) != width:
            raise ValueError(f"line {number} has {len(row)} values, the first line has {width}")
        block.append(row)
        if len(block) == BLOCK_LINES:
            blocks.append(numbers(block))
            block = []
    blocks.append(numbers(block) if block else numpy.empty((0, width), numpy.float32))
    return numpy.concatenate(blocks)


def numbers(rows):
    return numpy.array(rows, dtype=object).astype(numpy.float32)


def delimiter_of(line):
    """What separates the cells: found by looking at the first line, a comma if that says nothing."""
    if "," in line:
        return ","
    try:
        return csv.Sniffer().sniff(line[:512], delimiters=";|\t ").delimiter
    except csv.Error:
        return ","


def parse_libsvm(lines, columns):
    """Sparse rows ``[label] index:value ...``; the indices are columns as they stand, and what is absent is missing."""
    values, indices, starts = [], [], [0]
    for number, line in enumerate(lines, 1):
        tokens = line.split("#", 1)[0].split()
        if not tokens:
            continue
        for token in tokens:
            index, colon, value = token.partition(":")
            if index == "qid":
                continue
            if colon:
                indices.append(index_of(index, number))
                values.append(float(value))
            elif starts[-1] != len(values):
                raise ValueError(f"line {number}: {token!r} is not index:value")
            else:
                float(token)  # the label; it must be a number, and it is not needed
        starts.append(len(values))
    width = max(max(indices, default=-1) + 1, columns)
    triple = (numpy.array(values, numpy.float32), numpy.array(indices, numpy.int32), numpy.array(starts, numpy.int64))
    return scipy.sparse.csr_matrix(triple, shape=(len(starts) - 1, width))


def index_of(text, line_number):
    index = int(text)
    if not 0 <= index <= INDEX_MAX:
        raise ValueError(f"line {line_number}: the index {index} is not between 0 and {INDEX_MAX}")
    return index
