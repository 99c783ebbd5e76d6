"""What the environment of the instance says, read once and checked: a wrong value ends the start with a sentence."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

BODY_BYTES_MAX = 6 * 1024 * 1024
WORKERS_MAX = 4


class Wrong(Exception):
    """A variable cannot be what it is; the text says what was expected."""


@dataclass(frozen=True)
class Variables:
    """The variables that count, as values."""

    base_dir: Path
    """What is /opt/ml on AWS: model/ is in it, and code/ comes into it."""
    port: int
    workers: int
    body_bytes_max: int | None
    default_accept: str
    """Empty: left out."""
    output_keys: tuple[str, ...] | None
    """The keys of SAGEMAKER_INFERENCE_OUTPUT; None: left out."""
    ensemble: bool
    batch: bool
    program: str
    """The user's script; empty in algorithm mode."""
    submit_directory: str
    log_level: int

    @property
    def model_dir(self):
        """Where the model's files are."""
        return self.base_dir / "model"


def read(environ, tag):
    """The variables for an image's tag. Raises Wrong."""
    if environ.get("SAGEMAKER_MULTI_MODEL"):
        raise Wrong(
            "SAGEMAKER_MULTI_MODEL is set: several models behind one server are not supported; make an endpoint for each."
        )
    keys = environ.get("SAGEMAKER_INFERENCE_OUTPUT")
    return Variables(
        base_dir=Path(environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")),
        port=_number(environ, "SAGEMAKER_BIND_TO_PORT", 8080),
        workers=_number(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", default_workers()),
        body_bytes_max=_number(environ, "MAX_CONTENT_LENGTH", BODY_BYTES_MAX if tag.bounded else None),
        default_accept=environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", ""),
        output_keys=tuple(keys.replace(" ", "").lower().split(",")) if keys and tag.selects else None,
        ensemble=environ.get("SAGEMAKER_INFERENCE_ENSEMBLE", "true") == "true",
        batch=bool(environ.get("SAGEMAKER_BATCH")),
        program=environ.get("SAGEMAKER_PROGRAM", ""),
        submit_directory=environ.get("SAGEMAKER_SUBMIT_DIRECTORY", ""),
        log_level=_number(environ, "SAGEMAKER_CONTAINER_LOG_LEVEL", logging.INFO),
    )


def default_workers():
    """OURS: one for each processor, but at most 4 (what an ml.m5.xlarge has): an instance is not alone on its machine."""
    return min(len(os.sched_getaffinity(0)), WORKERS_MAX)


def _number(environ, name, default):
    text = environ.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise Wrong(f"{name} must be a whole number above 0, got {text!r}.")
    return int(text)
