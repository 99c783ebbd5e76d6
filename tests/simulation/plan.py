"""What happens in a run, drawn from its seed: what is deployed, who asks for what and when, and what goes wrong.

Each seed leaves out most kinds of trouble and has more of the rest: bugs hide where troubles meet in pairs, and a run in which
everything fails all the time never gets to the interesting states.
"""

import math
import random
from dataclasses import dataclass, field
from enum import StrEnum

from tests.simulation.durable import BUCKET
from tests.simulation.machines import LARGE, Wish
from tests.simulation.weather import Weather

from tarry.core.invocation import InvokeRequest
from tarry.core.retry_policy import RetryPolicy

ENDPOINT = "served"
ACTIVE_S = 20.0
"""So long requests come and things go wrong; then the world may come to rest."""


class Trouble(StrEnum):
    """What can happen to servers and instances, or be asked of an endpoint."""

    CRASH = "crash"
    SUPERSEDE = "supersede"
    PAUSE = "pause"
    TERMINATE = "terminate"
    INSTANCE_DIES = "instance dies"
    DISK_FULL = "disk full"
    STORE_DOWN = "store down"
    TOPICS_DOWN = "topics down"
    UPDATE = "update"
    RESCALE = "rescale"
    CLOCK_SET = "clock set"
    DELETE = "delete"
    STOP = "stop"
    PURGE = "purge"
    PRIORITISE = "prioritise"
    REDRIVE = "redrive"


SERVER_TROUBLES = (Trouble.CRASH, Trouble.SUPERSEDE, Trouble.PAUSE, Trouble.TERMINATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One trouble: when it begins and how long it lasts, in seconds."""

    at_s: float
    trouble: Trouble
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A request, and when it is sent. ``insists``: it is sent twice, and again until it is accepted, and is one all the same."""

    at_s: float
    request: InvokeRequest
    insists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run."""

    lease_s: float
    queued_max: int
    finished_s: float
    one_commit: bool
    engine_survives: bool
    variants: tuple[tuple[str, int, float], ...]
    """Name, instances, weight."""
    concurrency: int
    include_response: bool
    retry: RetryPolicy | None
    inputs: dict[str, bytes] = field(default_factory=dict)
    requests: tuple[Planned, ...] = ()
    happenings: tuple[Happening, ...] = ()
    weather: Weather = field(default_factory=Weather)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"plan {seed}")
    lease_s = chance.choice((3.0, 3.0, 6.0))
    inputs: dict[str, bytes] = {}
    names = ("a", "b")[: chance.choice((1, 1, 2))]
    return Plan(
        lease_s=lease_s,
        queued_max=chance.choice((3, 1000, 1000, 1000)),
        finished_s=chance.choice((10.0, math.inf, math.inf, math.inf)),
        one_commit=chance.random() < 0.5,
        engine_survives=chance.random() < 0.5,
        variants=tuple((name, chance.choice((1, 1, 2)), chance.choice((1.0, 0.5))) for name in names),
        concurrency=chance.choice((1, 2, 4)),
        include_response=chance.random() < 0.3,
        retry=_retry(chance),
        inputs=inputs,
        requests=_requests(chance, inputs),
        happenings=_happenings(chance, lease_s),
        weather=_weather(chance),
    )


def _requests(chance: random.Random, inputs: dict[str, bytes]) -> tuple[Planned, ...]:
    wishes = _wishes(chance)
    burst_s = chance.choice((0.5, ACTIVE_S / 2, ACTIVE_S))
    shared_name = chance.random() < 0.15
    planned = []
    for number in range(chance.randint(3, 12)):
        wish = chance.choice(wishes)
        body = wish.body()
        inline = chance.random() < 0.5
        key = f"in/{number}"
        if not inline and chance.random() < 0.95:
            inputs[key] = body
        insists = chance.random() < 0.2
        request = InvokeRequest(
            endpoint_name=ENDPOINT,
            body=body if inline else None,
            input_location=None if inline else f"s3://{BUCKET}/{key}",
            inference_id=f"r{number}",
            filename="shared" if shared_name and number % 3 == 0 else None,
            ttl_s=chance.choice((None, None, None, 2, 6)),
            timeout_s=chance.choice((2, 5) if wish.never else (None, 2, 5)),
            priority=chance.choice((0, 0, 0, 9, -9)),
            same_within_s=600 if insists else None,
        )
        planned.append(Planned(at_s=chance.random() * burst_s, request=request, insists=insists))
    return tuple(planned)


def _retry(chance: random.Random) -> RetryPolicy | None:
    if chance.random() < 0.7:
        return None
    return RetryPolicy(
        attempts_max=chance.choice((2, 3)),
        statuses=("5xx", "timeout"),
        backoff_s=chance.choice((0.0, 0.5, 3.0)),
        backoff_rate=1.5,
    )


def _wishes(chance: random.Random) -> list[Wish]:
    plain = [Wish(), Wish(after_s=0.5), Wish(after_s=1.5), Wish(size=LARGE)]
    odd = [
        Wish(status=500),
        Wish(status=400, size=LARGE),
        Wish(never=True),
        Wish(after_s=4.0),
        Wish(kills=3),
        Wish(kills=1, after_s=0.3),
        Wish(drops=True),
        Wish(breaks=True),
        Wish(size=0),
    ]
    return plain + chance.sample(odd, chance.randint(0, 4))


def _happenings(chance: random.Random, lease_s: float) -> tuple[Happening, ...]:
    kinds = chance.sample(list(Trouble), chance.randint(0, 4))
    happenings = []
    for kind in kinds:
        once = kind in {Trouble.SUPERSEDE, Trouble.TERMINATE, Trouble.UPDATE, Trouble.DELETE}
        for _ in range(1 if once else chance.randint(1, 3)):
            lasts_s = chance.choice((0.1, 1.0, lease_s, lease_s * 2)) * chance.uniform(0.5, 1.5)
            earliest_s = ACTIVE_S / 2 if kind is Trouble.DELETE else 0.0
            happenings.append(Happening(at_s=chance.uniform(earliest_s, ACTIVE_S), trouble=kind, lasts_s=lasts_s))
    return tuple(sorted(happenings, key=lambda happening: happening.at_s))


def _weather(chance: random.Random) -> Weather:
    def some(*values: float) -> float:
        return chance.choice((0.0, *values))

    return Weather(
        error=some(0.02, 0.1),
        late_error=some(0.05, 0.3),
        slow=some(0.01, 0.05),
        slow_s=chance.choice((1.0, 4.0)),
        hint_lost=some(0.2, 1.0),
        hint_twice=some(0.3),
        twice=some(0.2),
    )
