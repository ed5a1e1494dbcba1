"""Long walks that let the rest of the node go on.

Law: whatever is done for each of many queues or bindings gives the event loop a turn now and then: heartbeats of
consensus do not wait for an operator's list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

import trio

T = TypeVar("T")
_TURN_ITEMS = 100
"""Items between two turns of the event loop."""


async def gently(items: Sequence[T]) -> AsyncIterator[T]:
    """The items, with a turn of the event loop now and then."""
    for number, item in enumerate(items, 1):
        yield item
        if number % _TURN_ITEMS == 0:
            await trio.lowlevel.checkpoint()
