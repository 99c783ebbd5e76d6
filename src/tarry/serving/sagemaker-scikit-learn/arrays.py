"""Arrays as JSON, CSV and NPY, the three forms that the scikit-learn container knows by itself.

# AWS: the three, and how they are read and written (aws/sagemaker-containers, _encoders.py).
"""

import csv
import io
import json

import numpy


class Unreadable(ValueError):
    """Bytes that are no array, or one of pickled objects."""


def from_npy(data):
    """Errors: Unreadable.

    # OURS: without pickled objects, which the original would run: who may ask a model may not run code beside it.
    """
    try:
        return numpy.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise Unreadable(f"pickled objects are not loaded: {error}") from error


def from_json(text):
    return numpy.array(json.loads(text))


def from_csv(text):
    return numpy.array([row for row in csv.reader(io.StringIO(text), strict=True) if row])


def to_npy(array):
    buffer = io.BytesIO()
    numpy.save(buffer, array)
    return buffer.getvalue()


def to_json(array):
    return json.dumps(array, default=lambda value: value.tolist())


def to_csv(array):
    """One line a row; a one-dimensional array is a column."""
    rows = numpy.array(array)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows.reshape(rows.shape[0], -1) if rows.ndim else [[rows]])
    return stream.getvalue()


DECODERS = {"application/json": from_json, "text/csv": from_csv, "application/x-npy": from_npy}
ENCODERS = {"application/json": to_json, "text/csv": to_csv, "application/x-npy": to_npy}
