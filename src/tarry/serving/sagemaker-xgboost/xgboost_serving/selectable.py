"""Selectable inference: SAGEMAKER_INFERENCE_OUTPUT names what is to be said of each prediction.

# AWS: which objective has which content, and how it is computed: aws/sagemaker-xgboost-container, serve_utils.py. (A score of one
# class x is answered as [1 - x, x] even where it is no probability.)
"""

import math

SCORE = ("predicted_score",)
CLASSES = ("predicted_label", "labels", "raw_score", "raw_scores")
PROBABILITIES = (*CLASSES, "probability", "probabilities")

LOGISTIC, LOGITRAW, HINGE, SOFTMAX, SOFTPROB = (
    "binary:logistic",
    "binary:logitraw",
    "binary:hinge",
    "multi:softmax",
    "multi:softprob",
)
CONTENT = {
    "reg:squarederror": SCORE,
    "reg:logistic": SCORE,
    "reg:gamma": SCORE,
    "reg:absoluteerror": SCORE,
    "reg:tweedie": SCORE,
    LOGISTIC: PROBABILITIES,
    LOGITRAW: CLASSES,
    HINGE: CLASSES,
    SOFTMAX: CLASSES,
    SOFTPROB: PROBABILITIES,
}


class NotSupported(Exception):
    """No content can be chosen for this objective; the text is the answer's body."""


def select(predictions, keys, objective, classes):
    """For each prediction its content by key; NaN for a key that the objective has not.

    ``predictions``: numbers, or with multi:softprob a list of one number for each class. Raises NotSupported.
    """
    if objective not in CONTENT:
        raise NotSupported(f"Objective `{objective}` unsupported for selectable inference predictions.")
    known = CONTENT[objective]
    say = _of_classes if objective == SOFTPROB else _of_one
    return [{key: say(key, objective, one, classes) if key in known else math.nan for key in keys} for one in predictions]


def _of_classes(key, _objective, probabilities, classes):
    highest = max(probabilities)
    return {
        "predicted_label": probabilities.index(highest),
        "labels": list(range(classes)),
        "probability": highest,
        "probabilities": probabilities,
        "raw_score": highest,
        "raw_scores": probabilities,
    }[key]


def _of_one(key, objective, score, classes):
    return {
        "predicted_score": score,
        "predicted_label": _label(objective, score),
        "labels": list(range(classes)) if objective == SOFTMAX else [0, 1],
        "probability": score,
        "probabilities": [1.0 - score, score],
        "raw_score": score,
        "raw_scores": [1.0 - score, score],
    }[key]


def _label(objective, score):
    if objective == LOGISTIC:
        return int(score > 0.5)
    if objective == LOGITRAW:
        return int(score > 0)
    return score
