# mypy: ignore-errors
# ruff: noqa
"""Makes the model files of one XGBoost version in this directory, and what they predict: ``python make.py``.

Run once with each version named in README.md, by an interpreter that the version still runs on (so this is written for all of them).
"""

import json
import os
import pickle
import warnings

import numpy
import xgboost

warnings.simplefilter("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = xgboost.__version__
PROTOCOL = 0 if VERSION < "0.9" else 2  # the first image ran on Python 2, whose pickles were text
ASKED = numpy.array([[0.1, 0.2, 0.3], [-1, 2, numpy.nan], [1, -1, 1]], dtype="float32")


def path(name):
    return os.path.join(HERE, VERSION + name)


def dump(thing, name):
    with open(path(name), "wb") as stream:
        pickle.dump(thing, stream, protocol=PROTOCOL)


random = numpy.random.RandomState(7)
rows = random.normal(size=(120, 3)).astype("float32")
label = (rows.dot(numpy.array([1, -2, 0.5])) > 0).astype(int)
matrix = xgboost.DMatrix(rows, label=label)
parameters = {"objective": "binary:logistic", "max_depth": 2, "base_score": 0.4, "seed": 1}
expected = {}

booster = xgboost.train(parameters, matrix, num_boost_round=4)
expected["plain"] = booster.predict(xgboost.DMatrix(ASKED)).tolist()
dump(booster, ".pickle")
if VERSION < "3":
    booster.save_model(path(".binary"))
if VERSION >= "1":
    booster.save_model(path(".json"))
if VERSION >= "1.6":
    booster.save_model(path(".ubj"))

# Early stopping with a label that is wrong, and two trees a round: the best round is the first, three are made.
wrong = [(xgboost.DMatrix(rows[:60], label=1 - label[:60]), "wrong")]
forest = dict(parameters, num_parallel_tree=2)
stopped = xgboost.train(forest, matrix, num_boost_round=8, evals=wrong, early_stopping_rounds=2, verbose_eval=False)
expected["all trees"] = stopped.predict(xgboost.DMatrix(ASKED)).tolist()
if hasattr(stopped, "best_ntree_limit"):
    expected["best trees"] = stopped.predict(xgboost.DMatrix(ASKED), ntree_limit=stopped.best_ntree_limit).tolist()
    dump(stopped, "-stopped.pickle")
    stopped.save_model(path("-stopped.binary"))

try:
    import sklearn
except ImportError:
    pass
else:
    wrapper = xgboost.XGBClassifier(n_estimators=4, max_depth=2)
    wrapper.fit(rows, label)
    expected["wrapper"] = wrapper.predict_proba(ASKED)[:, 1].tolist()
    dump(wrapper, "-wrapper.pickle")

with open(path("-expected.json"), "w") as stream:
    json.dump(expected, stream, indent=1)
    stream.write("\n")
