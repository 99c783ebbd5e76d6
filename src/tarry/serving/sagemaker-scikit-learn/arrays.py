"""Arrays as JSON, CSV and NPY, the three forms that the scikit-learn container knows by itself.

# AWS: the three, and how they are read and written (aws/sagemaker-containers, _encoders.py).
"""

import csv
import io
import json

import numpy


def from_npy(data):
    """OURS: without pickled objects, which the original would run: who may ask a model may not run code beside it."""
    return numpy.load(io.BytesIO(data), allow_pickle=False)


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
