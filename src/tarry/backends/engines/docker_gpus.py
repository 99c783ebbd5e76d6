"""Which instance has which of the machine's GPUs. Docker would give the first ones to everybody who asks for a number of them."""

from collections import Counter
from collections.abc import Sequence

import structlog

from tarry.core.instance_types import instance_type

log = structlog.get_logger(__name__)

Ids = tuple[str, ...]


class Gpus:
    """Hands out the GPUs that containers may have."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = tuple(ids)
        self._taken: dict[str, Ids] = {}

    def take(self, instance_id: str, type_name: str) -> Ids:
        """As many as the type has, as far as there are: those that fewest instances have. None for a type without NVIDIA's."""
        counts = Counter(gpu for other, ids in self._taken.items() if other != instance_id for gpu in ids)
        wanted = _wanted(type_name)
        if len(self._ids) < wanted:
            log.warning(
                "an instance has fewer GPUs than its type, without any it runs on the CPU: name those of this machine in "
                "[engine] docker_gpus",
                instance=instance_id,
                instance_type=type_name,
                wanted=wanted,
                gpus=list(self._ids),
            )
        chosen = sorted(self._ids, key=lambda gpu: counts[gpu])[:wanted]
        ids = tuple(gpu for gpu in self._ids if gpu in chosen)
        self.occupy(instance_id, ids)
        return ids

    def occupy(self, instance_id: str, ids: Ids) -> None:
        """An instance that runs already has these."""
        self._taken[instance_id] = ids

    def give_back(self, instance_id: str) -> None:
        """The instance has ended. Repeats change nothing."""
        self._taken.pop(instance_id, None)


def _wanted(type_name: str) -> int:
    known = instance_type(type_name)
    return known.accelerators if known is not None and (known.kind or "").startswith("NVIDIA") else 0
