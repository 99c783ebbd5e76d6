"""Until 1.3-1 training wrote the model as a pickle, and no newer XGBoost reads those of 0.x: the same class, but other bytes.

So a pickle is taken apart without the library: whatever it holds of XGBoost and scikit-learn becomes a bag of attributes, and the
bytes of the model in it go to the library in the way that reads them.
"""

import pickle

import xgboost


class NoModel(Exception):
    """The pickle holds no XGBoost model, or one that cannot be read; the text says why."""


class Bag:
    """Stands in for any class: takes whatever it is made with and keeps its state."""

    def __init__(self, *_args, **_kwargs):
        self.state = {}

    def __setstate__(self, state):
        """Called by pickle."""
        self.state = state


class _Reader(pickle.Unpickler):
    def find_class(self, module, name):
        """Called by pickle for every class in the file."""
        if module.partition(".")[0] in ("xgboost", "sklearn"):
            return type(name, (Bag,), {"__module__": module})
        return super().find_class(module, name)


def looks_like_one(head):
    """Whether a file that begins so may be a pickle. ``head``: at least its first ten bytes."""
    return (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05") or head.startswith((b"ccopy_reg", b"cxgboost"))


def load(file):
    """The Booster of a pickled Booster or scikit-learn wrapper, and its ``best_ntree_limit`` (0: all trees). Raises NoModel."""
    try:
        with file.open("rb") as stream:
            found = _Reader(stream, encoding="latin1").load()
    except Exception as error:
        raise NoModel(f"{type(error).__name__}: {error}") from error
    name = type(found).__name__
    if isinstance(found, Bag) and "_Booster" in found.state:  # a wrapper
        found = found.state["_Booster"]
    state = found.state if isinstance(found, Bag) else None
    if not isinstance(state, dict) or not isinstance(state.get("handle"), bytes | bytearray):
        raise NoModel(f"it is a pickle of {name}; expected xgboost.Booster")
    return _booster(state), int(state.get("best_ntree_limit") or 0)


def _booster(state):
    """From 1.0 on the bytes are a snapshot with its configuration, before that they are a model file."""
    booster = xgboost.Booster()
    try:
        booster.__setstate__(dict(state))
    except xgboost.core.XGBoostError as error:
        try:
            booster.load_model(bytearray(state["handle"]))
        except xgboost.core.XGBoostError:
            raise NoModel(str(error)) from error
    return booster
