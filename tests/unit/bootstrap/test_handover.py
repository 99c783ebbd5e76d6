"""Connections and hints between two processes: whole, in order, and never a reason to wait for the other."""

import socket

import pytest

from tarry.bootstrap.handover import Handover, Kind, Message


@pytest.fixture
def ends() -> "tuple[Handover, Handover]":
    ours, theirs = Handover.pair()
    return ours, Handover(theirs)


def close(*ends: Handover) -> None:
    for end in ends:
        end.close()


def test_messages_arrive_whole_and_in_order(ends: tuple[Handover, Handover]) -> None:
    ours, theirs = ends
    ours.send(Message(Kind.READY))
    ours.hint(["queue:a", "queue:b"])
    ours.send(Message(Kind.STOP))
    assert list(theirs.received()) == [Message(Kind.READY), Message(Kind.HINTS, b"queue:a\nqueue:b"), Message(Kind.STOP)]
    assert list(theirs.received()) == []
    close(*ends)


@pytest.mark.parametrize("size", [0, 10, 65_536, 400_000, 5_000_000])
def test_a_connection_is_the_same_with_all_that_has_been_read_of_it(ends: tuple[Handover, Handover], size: int) -> None:
    ours, theirs = ends
    client, accepted = socket.socketpair()
    head = bytes(range(256)) * (size // 256 + 1)
    with client, accepted:
        assert ours.send(Message(Kind.CONNECTION, head, accepted))
    # The sender's copies are closed: what was received is a connection of its own.
    [message] = theirs.received()
    assert (message.kind, message.data) == (Kind.CONNECTION, head)
    assert message.connection is not None
    with message.connection as received:
        assert received.recv(1) == b"", "its client has closed it"
    close(*ends)


def test_who_is_full_is_told_at_once_and_hints_are_lost(ends: tuple[Handover, Handover]) -> None:
    ours, theirs = ends
    while ours.send(Message(Kind.HINTS, b"x" * 1000)):
        pass
    ours.hint(["lost"])
    assert b"lost" not in [message.data for message in theirs.received()]
    assert ours.send(Message(Kind.STOP)), "there is room again"
    close(*ends)


def test_the_end_of_the_other_is_told(ends: tuple[Handover, Handover]) -> None:
    ours, theirs = ends
    theirs.close()
    assert not ours.send(Message(Kind.STOP))
    with pytest.raises(EOFError):
        list(ours.received())
    close(*ends)
