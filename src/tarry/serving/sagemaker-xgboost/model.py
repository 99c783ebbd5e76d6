"""Finds, loads and asks the one model of an instance."""

import os
import pathlib
import pickle
import threading

import xgboost

_lock = threading.Lock()
_loaded = []


class CannotLoad(Exception):
    """The model cannot be served; the text says why."""


def booster():
    """The model, loaded once per process."""
    with _lock:
        if not _loaded:
            _loaded.append(load(model_file()))
        return _loaded[0]


def model_file():
    """The one file that is not hidden in the model directory."""
    directory = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"), "model")
    files = sorted(file for file in directory.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise CannotLoad("there is no file in the model directory: the archive must hold the model at its top level")
    if len(files) > 1:
        # OURS: newer containers average over several models unless SAGEMAKER_INFERENCE_ENSEMBLE is false.
        names = ", ".join(file.name for file in files[:10])
        raise CannotLoad(f"there are {len(files)} files in the model directory ({names}); one model a container is supported")
    return files[0]


def load(file):
    """A pickled Booster or any format of the library itself."""
    with file.open("rb") as stream:
        head = stream.read(10)
    if head[:1] == b"\x80" or head.startswith(b"ccopy_reg"):
        return from_pickle(file)
    model = xgboost.Booster()
    try:
        model.load_model(file)
    except Exception as error:
        raise CannotLoad(f"{file.name}: {first_line(error)}") from error
    return prepared(model)


def from_pickle(file):
    try:
        with file.open("rb") as stream:
            model = pickle.load(stream)
    except Exception as error:
        raise CannotLoad(
            f"{file.name} is a pickle that XGBoost {xgboost.__version__} cannot read ({first_line(error)}). Pickles of XGBoost "
            "older than 1.0 never are: load it with the version that made it and write it with Booster.save_model"
        ) from error
    model = model.get_booster() if hasattr(model, "get_booster") else model
    if not isinstance(model, xgboost.Booster):
        raise CannotLoad(f"{file.name} is a pickle of {type(model).__name__}; expected xgboost.Booster")
    return prepared(model)


def prepared(model):
    """Requests run side by side, one thread each, as in the original."""
    model.set_param({"nthread": 1})
    return model


def predict(model, matrix, *, all_trees):
    """The predictions; raises ValueError when the columns do not fit the model.

    ``all_trees`` false: up to the best iteration, where training with early stopping left word of it.
    """
    columns, known = matrix.shape[1], model.num_features()
    if columns != known:
        raise ValueError(f"Feature size of inference data {columns} is not consistent with feature size of trained model {known}")
    rows = xgboost.DMatrix(matrix, nthread=1)
    best = None if all_trees else model.attr("best_iteration")
    end = int(best) + 1 if best is not None else 0
    return model.predict(rows, iteration_range=(0, end), validate_features=False)


def first_line(error):
    """The library's errors carry a stack; its first line with a cause is what people need."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
