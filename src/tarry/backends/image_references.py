"""What an image is called: ``[registry/]repository[:tag][@digest]``, one grammar for both engines.

Its source: the reference grammar of the distribution project, which Docker and registries follow. What passes has no path segment
that could lead elsewhere (``..``, ``//``), so it may become part of a URL.
"""

import re
from dataclasses import dataclass
from typing import Self

from tarry.core.errors import ImageNotFound

_CHARS_MAX = 255
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?P<registry>[A-Za-z0-9][A-Za-z0-9-]*[.:][A-Za-z0-9.:-]*|localhost)/)?"
    rf"(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """The parts of an image's name; None: not given."""

    registry: str | None
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Errors: ImageNotFound for what is no reference."""
        match = _REFERENCE.fullmatch(text) if len(text) <= _CHARS_MAX else None
        if match is None:
            raise ImageNotFound(
                f'"{text[:_CHARS_MAX]}" is not an image reference. Expected [registry/]repository[:tag], such as '
                "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:0.90-1-cpu-py3."
            )
        return cls(**match.groupdict())
