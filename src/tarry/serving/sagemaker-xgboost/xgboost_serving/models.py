"""Finds and loads the model files of an instance, and asks them: one model, or several that answer together."""

import json
import threading
from dataclasses import dataclass

import numpy
import xgboost

from xgboost_serving import pickles

VOTING = ("multi:softmax", "binary:hinge")
"""Objectives that answer with a class; the others answer with numbers that have a mean."""
NOT_THREAD_SAFE = "gblinear"


class CannotLoad(Exception):
    """The model cannot be served; the text says why."""


@dataclass(frozen=True)
class Member:
    """One loaded model file. ``best_iterations``: after how many the training had stopped early, 0 if it had not."""

    booster: xgboost.Booster
    best_iterations: int = 0
    pickled: bool = False

    def predict(self, rows):
        """Its predictions; the trees after the best iteration are left out."""
        return self.booster.predict(rows, iteration_range=(0, self.best_iterations), validate_features=False)


class Models:
    """All models of an instance; they have one objective and one set of columns, the first one's."""

    def __init__(self, members):
        self._members = tuple(members)
        learner = json.loads(self._members[0].booster.save_config())["learner"]
        self.objective = learner["objective"]["name"]
        self.classes = int(learner["learner_model_param"].get("num_class") or 0)
        self.columns = self._members[0].booster.num_features()
        self.pickled = self._members[0].pickled
        # The library promises predictions side by side for trees only.
        self._lock = threading.Lock() if learner["gradient_booster"]["name"] == NOT_THREAD_SAFE else None

    def predict(self, rows):
        """The predictions for a DMatrix: of the one model, or the mean or the vote of several."""
        if self._lock is None:
            return self._together(rows)
        with self._lock:
            return self._together(rows)

    def _together(self, rows):
        answers = [member.predict(rows) for member in self._members]
        if len(answers) == 1:
            return answers[0]
        return vote(answers) if self.objective in VOTING else numpy.mean(answers, axis=0)


def vote(answers):
    """What most members say, row by row; between equals the lower class."""
    votes = numpy.stack(answers)
    classes = numpy.unique(votes)
    return classes[numpy.argmax([(votes == one).sum(axis=0) for one in classes], axis=0)]


class Loader:
    """Loads the models once per process, when they are first needed."""

    def __init__(self, load):
        self._load = load
        self._lock = threading.Lock()
        self._loaded = None

    def __call__(self):
        """The loaded models. Raises what loading raises, each time anew."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded


def load(directory, *, tag, ensemble):
    """The models of a directory. Raises CannotLoad."""
    files = sorted(file for file in directory.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise CannotLoad("there is no file in the model directory: the archive must hold the model at its top level")
    if len(files) > 1 and not tag.ensembles:
        # OURS: these tags take whichever file the directory happens to list first.
        names = ", ".join(file.name for file in files[:10])
        raise CannotLoad(
            f"there are {len(files)} files in the model directory ({names}); one model a container is supported by "
            f"tag {tag.name}, several from 1.2-2 on"
        )
    # OURS: the first by name; the container takes whichever the directory lists first.
    with xgboost.config_context(verbosity=0):  # it warns of old formats, and these are what old models have
        return Models([_load_file(file, tag) for file in (files if ensemble else files[:1])])


def _load_file(file, tag):
    """A pickle, or any format of the library itself, whatever the file is called."""
    with file.open("rb") as stream:
        head = stream.read(10)
    reasons = []
    if pickles.looks_like_one(head):
        try:
            booster, best = pickles.load(file)
        except pickles.NoModel as error:
            reasons.append(f"it looks like a pickle, which cannot be read: {first_line(error)}")
        else:
            return _prepared(booster, best, pickled=True)
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(file.read_bytes()))
    except Exception as error:
        reasons.append(first_line(error))
        raise CannotLoad(_why_not(file, head, reasons)) from error
    best = int(booster.attr("best_ntree_limit") or 0) if tag.files_know_best else 0
    return _prepared(booster, best)


def _prepared(booster, best_trees, *, pickled=False):
    booster.set_param({"nthread": 1})  # requests run side by side, one thread each, as in the original
    trees_each = _find(json.loads(booster.save_config()), "num_parallel_tree") if best_trees else None
    return Member(booster, best_iterations=best_trees // max(int(trees_each or 1), 1), pickled=pickled)


def _find(config, name):
    """A parameter somewhere in a configuration; its place moved between versions."""
    for key, value in config.items():
        if key == name:
            return value
        if isinstance(value, dict) and (found := _find(value, name)) is not None:
            return found
    return None


def _why_not(file, head, reasons):
    text = f"{file.name} is no model that XGBoost {xgboost.__version__} can read ({'; '.join(reasons)})."
    if not head.startswith(b"{") and tuple(map(int, xgboost.__version__.split(".")[:2])) >= (3, 1):
        text += (
            " XGBoost 3.1 and later read JSON and UBJSON only: use an image tag up to 3.0-5, which reads the older formats too, "
            "or load the model with an older XGBoost and write it with Booster.save_model('xgboost-model.ubj')."
        )
    return text


def first_line(error):
    """The library's errors carry a stack; the first line is what people need."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
