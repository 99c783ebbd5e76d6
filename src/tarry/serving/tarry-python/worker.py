"""The functions of tarry/python for what the model's code leaves out: JSON both ways, and CSV in."""

import csv
import io
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))

import script_worker

JSON, CSV = "application/json", "text/csv"


def model_fn(model_dir):
    """No model: code that needs none, or loads it by itself, need not say so."""


def input_fn(data, content_type):
    """JSON: whatever it says. CSV: a list of rows, each a list of numbers, or of texts where they are none."""
    kind = script_worker.bare(content_type)
    if kind == JSON:
        return json.loads(data)
    if kind == CSV:
        return [[number(cell) for cell in row] for row in csv.reader(io.StringIO(data)) if row]
    raise script_worker.NotSupported(content_type, 415, (JSON, CSV))


def predict_fn(data, model):
    """``model(data)``, or ``model.predict(data)``."""
    if hasattr(model, "predict"):
        return model.predict(data)
    if callable(model):
        return model(data)
    raise NotImplementedError(
        "inference.py needs a predict_fn(data, model), or a model_fn whose model can be called or has predict"
    )


def output_fn(prediction, accept):
    """JSON; an array becomes a list."""
    if script_worker.bare(accept) != JSON:
        raise script_worker.NotSupported(accept, 406, (JSON,))
    return json.dumps(prediction, default=plain), JSON


def plain(value):
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON: write an output_fn")


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


if __name__ == "__main__":
    script_worker.main(sys.modules[__name__])
