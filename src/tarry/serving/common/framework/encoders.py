"""Arrays to bytes and back."""

import csv
import io
import json

import numpy
from sagemaker_containers.beta.framework import content_types, errors


def array_to_npy(array_like):
    """An array as a .npy file."""
    buffer = io.BytesIO()
    numpy.save(buffer, array_like)
    return buffer.getvalue()


def npy_to_numpy(npy_array):
    """An array of a .npy file. Raises UnsupportedFormatError.

    # OURS: without pickled objects, which the original would run: who may ask a model may not run code beside it.
    """
    try:
        return numpy.load(io.BytesIO(npy_array), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise errors.UnsupportedFormatError(f"{content_types.NPY} (pickled objects are not loaded: {error})") from error


def array_to_json(array_like):
    """Nested lists; arrays may be anywhere in it."""
    return json.dumps(array_like, default=lambda one: one.tolist())


def json_to_numpy(string_like, dtype=None):
    """Nested lists as an array."""
    return numpy.array(json.loads(string_like), dtype=dtype)


def csv_to_numpy(string_like, dtype=None):
    """Rows as an array, one of one dimension if there is one row or one column."""
    return numpy.array(list(csv.reader(io.StringIO(string_like), strict=True))).squeeze().astype(dtype)


def array_to_csv(array_like):
    """One line a row; what has one dimension is a column."""
    array = numpy.array(array_like)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(array.reshape(-1, 1) if array.ndim == 1 else array)
    return stream.getvalue()


_ENCODERS = {content_types.NPY: array_to_npy, content_types.CSV: array_to_csv, content_types.JSON: array_to_json}
_DECODERS = {content_types.NPY: npy_to_numpy, content_types.CSV: csv_to_numpy, content_types.JSON: json_to_numpy}


def decode(obj, content_type):
    """A body as an array. Raises UnsupportedFormatError."""
    if content_type not in _DECODERS:
        raise errors.UnsupportedFormatError(content_type)
    return _DECODERS[content_type](obj)


def encode(array_like, content_type):
    """An array as a body. Raises UnsupportedFormatError."""
    if content_type not in _ENCODERS:
        raise errors.UnsupportedFormatError(content_type)
    return _ENCODERS[content_type](array_like)
