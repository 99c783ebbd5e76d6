"""Identifiers that are the same in every run."""

import itertools
import random
import uuid


class FakeIds:
    """ports.Ids from a seed: well-formed UUIDs and tokens, in the same order each time."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - being repeatable is the point
        self._ms = itertools.count()

    def uuid(self) -> str:
        """See ports.Ids."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def time_ordered_uuid(self) -> str:
        """See ports.Ids; each is of a millisecond of its own."""
        ms = f"{next(self._ms):012x}"
        return f"{ms[:8]}-{ms[8:]}-7{self.uuid()[15:]}"

    def token(self) -> str:
        """See ports.Ids, but for being unguessable."""
        return f"{self._random.getrandbits(128):032x}"
