"""Images that exist because a test says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tarry.core.errors import ImageNotFound


@dataclass(slots=True)
class FakeImages:
    """ports.Images over a set of ``repository:tag``; a repository alone stands for all its tags."""

    at_once: dict[str, int | str] = field(default_factory=dict)
    """What repositories say of themselves: a number, or a variable's name."""
    known: set[str] = field(default_factory=lambda: {"stub"})

    async def check(self, reference: str) -> None:
        """See ports.Images."""
        name = reference.rpartition("/")[2]
        repository, _, tag = name.partition(":")
        if not ({repository, f"{repository}:{tag or 'latest'}"} & self.known):
            known = ", ".join(sorted(self.known)) or "none"
            raise ImageNotFound(f'No image is known for "{reference}". Known: {known}. Use one of these.')

    async def served_at_once(self, reference: str, environment: Mapping[str, str]) -> int | None:
        """See ports.Images."""
        said = self.at_once.get(reference.rpartition("/")[2].partition(":")[0])
        if not isinstance(said, str):
            return said
        return int(environment[said]) if said in environment else None
