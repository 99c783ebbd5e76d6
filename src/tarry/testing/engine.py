"""An engine without processes: tests say what happens to its instances."""

from dataclasses import dataclass, field

from tarry.core.errors import InsufficientCapacity, TarryError
from tarry.core.placement import Machine
from tarry.ports import EngineStatus, InstanceSpec


@dataclass(slots=True)
class _FakeInstance:
    spec: InstanceSpec
    addresses: tuple[str, ...]
    exit_code: int | None = None
    ended: int | None = None
    cause: str | None = None


@dataclass(slots=True)
class FakeEngine:
    """ports.Engine in memory. Instances run until ``stop`` or ``end``; ``failures`` are raised by the next starts, in order."""

    failures: list[TarryError] = field(default_factory=list)
    started: list[InstanceSpec] = field(default_factory=list)
    capacity: dict[str, int] = field(default_factory=dict)
    """How many instances of a type may run; types that are not in it have no limit."""
    running_s: float = 0.0
    """How long all instances have been running, as it says."""
    machine: Machine = field(default_factory=lambda: Machine(vcpus=2, memory_bytes=8 << 30, memory_free_bytes=4 << 30))
    stopped: list[str] = field(default_factory=list)
    graces: list[float] = field(default_factory=list)
    """What each of those was given to end by itself, in seconds."""
    _instances: dict[str, _FakeInstance] = field(default_factory=dict)
    _logs: dict[str, list[str]] = field(default_factory=dict)
    _count: int = 0

    async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """See ports.Engine."""
        known = self._instances.get(spec.instance_id)
        if known is not None and known.exit_code is None:
            return known.addresses
        full = self.capacity.get(spec.instance_type)
        if full is not None and sum(one.spec.instance_type == spec.instance_type for one in self._instances.values()) >= full:
            raise InsufficientCapacity(f"At most {full} instances of {spec.instance_type} may run here.")
        self.started.append(spec)
        if self.failures:
            raise self.failures.pop(0)
        addresses = tuple(f"http://127.0.0.1:{20001 + self._count + index}" for index in range(len(spec.containers)))
        self._count += len(addresses)
        self._instances[spec.instance_id] = _FakeInstance(spec, addresses)
        self.write(spec.instance_id, f"fake model server at {' '.join(addresses)}")
        return addresses

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        """See ports.Engine."""
        if self._instances.pop(instance_id, None) is not None:
            self.stopped.append(instance_id)
            self.graces.append(grace_s)

    async def observe(self) -> list[EngineStatus]:
        """See ports.Engine."""
        return [
            EngineStatus(
                instance_id=name,
                addresses=instance.addresses,
                exit_code=instance.exit_code,
                ended=instance.ended,
                running_s=self.running_s,
                cause=instance.cause,
            )
            for name, instance in self._instances.items()
        ]

    async def measure(self) -> Machine:
        """See ports.Engine."""
        return self.machine

    async def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """See ports.Engine."""
        return tuple(self._logs.get(instance_id, [])[-lines:]) if lines > 0 else ()

    def end(self, instance_id: str, exit_code: int = 1, container: int = 0, cause: str | None = None) -> None:
        """Let an instance die by itself, with the first container to end."""
        instance = self._instances[instance_id]
        instance.exit_code, instance.ended, instance.cause = exit_code, container, cause

    def write(self, instance_id: str, line: str) -> None:
        """Add a line to an instance's log."""
        self._logs.setdefault(instance_id, []).append(line)
