"""The tags of the image are years apart, and their servers differ. One XGBoost serves many of them; what differs is written here.

# AWS: each row is read from the branch of its tag in aws/sagemaker-xgboost-container (3.0-5: release-3.0.5; 3.2-0: master).
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Tag:
    """What the server of one tag does."""

    name: str
    accepts: bool = True
    """The answer is what Accept asks for. Before 1.2-2 it is csv, all predictions in one line; since then one line each."""
    selects: bool = True
    """SAGEMAKER_INFERENCE_OUTPUT chooses what the answer says, and then Accept counts."""
    ensembles: bool = True
    """Several model files are one model; before 1.2-2 one of them was taken at random."""
    bounded: bool = True
    """A body may have 6 MiB unless MAX_CONTENT_LENGTH says otherwise."""
    files_know_best: bool = False
    """The library of the tag read from a model file where training had stopped early, and left out the trees after it."""
    ignores_more_columns: bool = False
    """The library of the tag left columns out that the model has not; since 1.0 it refuses them."""
    shifts_libsvm: bool = False
    """A libsvm body without index 0 is taken to count columns from 1."""


# OURS: 0.90 has the same limit of 6 MiB; here it has one when the variable is set. Up to 1.2-1 MAX_CONTENT_LENGTH raises it to
# 20 MiB at most, and here to what it says.
_OLD = Tag("", accepts=False, selects=False, ensembles=False, bounded=False, ignores_more_columns=True)
_SELECTING = replace(_OLD, selects=True, bounded=True, ignores_more_columns=False)
_MODERN = Tag("")

_TAGS = {
    "1": _OLD,  # OURS: the first algorithm (XGBoost 0.72), which was never published; taken for 0.90-1
    "latest": _OLD,
    "0.90-1": _OLD,
    "0.90-2": _OLD,
    "1.0-1": _SELECTING,
    "1.2-1": _SELECTING,
    "1.2-2": _MODERN,
    "1.3-1": _MODERN,
    "1.5-1": replace(_MODERN, files_know_best=True),
    "1.7-1": replace(_MODERN, files_know_best=True),
    "3.0-5": _MODERN,
    "3.2-0": replace(_MODERN, shifts_libsvm=True),
}
_ENDINGS = ("-cpu-py3", "-arm64")


def tag_of(text):
    """The tag that an image reference ends with. Raises ValueError for one that is not known."""
    name = text
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    if name not in _TAGS:
        raise ValueError(f"the tag {text!r} is not known; expected one of {', '.join(_TAGS)}")
    return replace(_TAGS[name], name=name)
