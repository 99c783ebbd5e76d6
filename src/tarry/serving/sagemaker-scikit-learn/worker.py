"""The functions of the scikit-learn container for what a script leaves out."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "common")]

import arrays  # noqa: E402
import numpy  # noqa: E402
import script_worker  # noqa: E402


def model_fn(model_dir):
    # AWS: a script has to bring this one (the repository aws/sagemaker-scikit-learn-container).
    raise NotImplementedError("Please provide a model_fn implementation: the script has none, and there is no default")


def input_fn(data, content_type):
    """A numpy array; of texts (JSON, CSV) one of float32.

    # AWS: float32 of texts alone (aws/sagemaker-scikit-learn-container, handler_service.py).
    # OURS: one row of CSV is an array of one row, as a model expects. The original makes it one-dimensional, which models refuse.
    """
    kind = script_worker.bare(content_type)
    if kind not in arrays.DECODERS:
        raise script_worker.NotSupported(content_type, 415, arrays.DECODERS)
    try:
        array = arrays.DECODERS[kind](data)
    except arrays.Unreadable as error:
        raise script_worker.NotSupported(f"{kind} ({error})", 415, arrays.DECODERS) from error
    return array.astype(numpy.float32) if kind in script_worker.TEXTS else array


def predict_fn(data, model):
    return model.predict(data)


def output_fn(prediction, accept):
    kind = script_worker.bare(accept)
    if kind not in arrays.ENCODERS:
        raise script_worker.NotSupported(accept, 406, arrays.ENCODERS)
    return arrays.ENCODERS[kind](prediction), kind


if __name__ == "__main__":
    script_worker.main(sys.modules[__name__])
