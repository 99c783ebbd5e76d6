"""Logs that tests write."""

from collections.abc import Collection
from dataclasses import dataclass, field

from tarry.core.errors import NotFound
from tarry.ports import InstanceLog, LogName, LogPart


@dataclass(slots=True)
class FakeInstanceLogs:
    """ports.InstanceLogs in memory: ``write`` adds to a log at a time, ``forget`` lets it lose its beginning."""

    _content: dict[LogName, bytes] = field(default_factory=dict)
    _first: dict[LogName, int] = field(default_factory=dict)
    _written_at_us: dict[LogName, int] = field(default_factory=dict)

    async def find(self, endpoint_name: str) -> list[InstanceLog]:
        """See ports.InstanceLogs."""
        logs = [
            InstanceLog(
                name=name,
                first=self._first.get(name, 0),
                end=self._first.get(name, 0) + len(content),
                written_at_us=self._written_at_us[name],
            )
            for name, content in self._content.items()
            if name.endpoint_name.lower() == endpoint_name.lower()
        ]
        return sorted(logs, key=lambda log: log.written_at_us, reverse=True)

    async def read(self, name: LogName, offset: int, bytes_max: int) -> LogPart:
        """See ports.InstanceLogs."""
        if name not in self._content:
            raise NotFound("log of the instance", name.instance_id)
        first, content = self._first.get(name, 0), self._content[name]
        end = first + len(content)
        offset = min(max(offset, first), end)
        return LogPart(content=content[offset - first :][:bytes_max], offset=offset, end=end)

    async def discard(self, written_before_us: int, but: Collection[str]) -> int:
        """See ports.InstanceLogs."""
        old = [name for name, at_us in self._written_at_us.items() if at_us < written_before_us and name.instance_id not in but]
        for name in old:
            del self._content[name], self._written_at_us[name]
            self._first.pop(name, None)
        return len(old)

    def write(self, name: LogName, content: bytes, at_us: int) -> None:
        """What an instance prints."""
        self._content[name] = self._content.get(name, b"") + content
        self._written_at_us[name] = at_us

    def forget(self, name: LogName, count: int) -> None:
        """The log has become too long: so many of its first bytes are gone."""
        self._content[name] = self._content[name][count:]
        self._first[name] = self._first.get(name, 0) + count
