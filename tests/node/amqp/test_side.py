"""What a channel waits for before it answers a synchronous method."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from cluster.node.amqp.side import COMMIT_PATIENCE_SECONDS, Side
from cluster.node.catalog.client import NoQuorum


def side(uncommitted: int) -> Side:
    switchboard = SimpleNamespace(hasten_settles=lambda: None)
    connection: Any = SimpleNamespace(broker=SimpleNamespace(switchboard=switchboard))
    one = Side(1, connection)
    one.uncommitted = uncommitted
    return one


async def test_a_method_waits_as_long_as_what_came_before_it_is_being_committed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one = side(3)

    async def commit_now_and_then() -> None:
        for _ in range(3):
            await trio.sleep(COMMIT_PATIENCE_SECONDS * 0.9)
            one.done(1)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit_now_and_then)
        await one.committed()
    assert trio.current_time() - began == pytest.approx(COMMIT_PATIENCE_SECONDS * 2.7)


async def test_a_method_gives_up_when_nothing_before_it_is_committed_for_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one = side(1)
    began = trio.current_time()
    with pytest.raises(NoQuorum):
        await one.committed()
    assert trio.current_time() - began == pytest.approx(COMMIT_PATIENCE_SECONDS)
