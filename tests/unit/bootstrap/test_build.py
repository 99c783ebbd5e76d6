"""The loops of a server: one that ends in a bug stops it, instead of leaving half a server."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from tarry.bootstrap.build import Tarry


class _Reconciler:
    def __init__(self, order: list[str]) -> None:
        self.order = order

    async def take_over(self) -> None:
        self.order.append("taken over")


async def test_a_loop_that_ends_stops_the_server() -> None:
    order: list[str] = []

    async def broken() -> None:
        order.append("loop")
        raise ZeroDivisionError("a bug")

    nothing = cast("Any", None)
    tarry = Tarry(nothing, nothing, cast("Any", _Reconciler(order)), nothing, {"broken": broken}, AsyncExitStack())
    await tarry.start()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(tarry.failed, 10)
    assert order == ["taken over", "loop"], "earlier instances are put away before any loop looks for work"
    await tarry.close()
