"""What happened in a run, line by line. Lines are written out only when somebody reads them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.simulation.loop import Part
from tests.simulation.machines import Asked, Machine

from tarry.core.invocation import Invocation
from tarry.core.notifications import Notification
from tarry.ports import Add, Back, Decision, Lease, Remove, Replace, Staged

_POLLS = {
    "store.find",
    "store.get",
    "store.named",
    "queue.reap",
    "queue.claim",
    "outbox.due",
    "control.forget",
    "models.ping",
    "engine.observe",
}


@dataclass(slots=True)
class Trace:
    """The lines of a run. ``now_s`` is the run's clock."""

    now_s: Callable[[], float]
    _happened: list[tuple[float, Callable[[], str]]] = field(default_factory=list)

    def note(self, words: str) -> None:
        """Something happened."""
        self._happened.append((self.now_s(), lambda: words))

    def called(self, part: Part, name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """A part called a port."""
        if name not in _POLLS:
            self._happened.append((self.now_s(), partial(_line, part, name, args, options)))

    @property
    def lines(self) -> list[str]:
        """As text, each with its time in seconds."""
        return [f"{at_s:9.3f}  {words()}" for at_s, words in self._happened]

    @property
    def digest(self) -> str:
        """A hash of all lines: two runs with one digest went the same way."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]


def _line(part: Part, name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    words = " ".join(_word(arg) for arg in args)
    return f"{part.name:<12} {name} {words} {dict(options) or ''}".rstrip()


def _word(arg: Any) -> str:
    match arg:
        case Machine():
            return f"{arg.instance_id[:8]} at {arg.address}"
        case Asked():
            return arg.inference_id
        case Invocation():
            return f"{arg.inference_id} {arg.id[:8]}"
        case Lease():
            return f"{arg.invocation_id[:8]} lease {arg.token[:6]} of {arg.instance_id[:8]}"
        case Decision():
            return f"{arg.outcome.state} {arg.outcome.reason or ''}"
        case Back():
            return f"{arg.end} {arg.delay_s or ''} {arg.reason or ''}"
        case Staged():
            return str(arg.location)
        case Notification():
            return f"{arg.id[:8]} to {arg.topic_arn}"
        case Add() | Replace() | Remove():
            entity = arg.entity
            state = getattr(entity, "state", getattr(entity, "status", ""))
            return f"{type(arg).__name__} {type(entity).__name__} {entity.id[:8]} {state}"
        case bytes():
            return f"{len(arg)} bytes"
        case list():
            return f"[{', '.join(_word(each) for each in arg)}]"
    return str(arg)[:100]
