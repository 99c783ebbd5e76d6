"""What ports.Ids promises, held against the system's and the fake (which need not be unguessable)."""

import re
import time
import uuid

import pytest

from tarry.backends.system import SystemIds
from tarry.ports import Ids
from tarry.testing.ids import FakeIds

MANY = 2000  # more than SystemIds fetches at a time


@pytest.fixture(params=[SystemIds, FakeIds])
def ids(request: pytest.FixtureRequest) -> Ids:
    made: Ids = request.param()
    return made


def test_uuids_are_version_4_in_their_usual_form_and_never_repeat(ids: Ids) -> None:
    made = [ids.uuid() for _ in range(MANY)]
    assert len(set(made)) == MANY
    for text in made:
        value = uuid.UUID(text)
        assert str(value) == text
        assert (value.version, value.variant) == (4, uuid.RFC_4122)


def test_time_ordered_uuids_are_version_7_in_the_order_in_which_they_were_made(ids: Ids) -> None:
    made = [ids.time_ordered_uuid() for _ in range(MANY)]
    assert len(set(made)) == MANY
    for text in made:
        value = uuid.UUID(text)
        assert str(value) == text
        assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert [text[:18] for text in made] == sorted(text[:18] for text in made)  # the rest is random


def test_all_of_a_time_ordered_uuid_but_time_version_and_variant_is_random(ids: Ids) -> None:
    made = [ids.time_ordered_uuid() for _ in range(MANY)]
    assert {text[19] for text in made} == set("89ab")
    for place in (20, 21, 22, *range(24, 36)):
        assert len({text[place] for text in made}) == 16


def test_the_system_orders_uuids_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [1_700_000_000_000_000_000 + step * 250 for step in range(4000)]
    now = iter(moments)
    monkeypatch.setattr(time, "time_ns", lambda: next(now))
    ids = SystemIds()
    made = [ids.time_ordered_uuid()[:18] for _ in moments]
    assert made == sorted(made)
    assert len(set(made)) > len(moments) * 0.95, "a quarter of a microsecond tells two apart"


def test_a_time_ordered_uuid_of_the_system_tells_its_millisecond() -> None:
    before_ms = time.time_ns() // 1_000_000
    told_ms = uuid.UUID(SystemIds().time_ordered_uuid()).int >> 80
    assert before_ms <= told_ms <= time.time_ns() // 1_000_000


def test_tokens_are_url_safe_long_enough_and_never_repeat(ids: Ids) -> None:
    made = [ids.token() for _ in range(MANY)]
    assert len(set(made)) == MANY
    for text in made:
        assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", text)  # 22 characters of base64 hold 128 bits, 32 of hex as well


def test_two_sources_of_the_system_have_nothing_in_common() -> None:
    one, two = SystemIds(), SystemIds()
    assert not {one.uuid() for _ in range(MANY)} & {two.uuid() for _ in range(MANY)}
