"""Identifiers that are the same in every run."""

import random
import uuid


class FakeIds:
    """ports.Ids from a seed: well-formed UUIDv4s and tokens, in the same order each time."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - being repeatable is the point

    def uuid(self) -> str:
        """See ports.Ids."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def token(self) -> str:
        """See ports.Ids, but for being unguessable."""
        return f"{self._random.getrandbits(128):032x}"
