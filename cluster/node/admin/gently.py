"""Long walks that let the rest of the node go on.

Law: whatever is done for each of many queues or bindings gives the event loop a turn now and then, and keeps it no
longer than a few milliseconds at a time: heartbeats of consensus do not wait for an operator's list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from time import perf_counter
from typing import Any, TypeVar

import trio

T = TypeVar("T")
_LOOK_ITEMS = 100
"""Items between two looks at the clock."""
_TURN_SECONDS = 0.002
"""Between two turns of the event loop, and what comes until the next look."""
_RUN_ITEMS = 4000
"""Sorted in one go; longer runs are merged, which is much quicker for as many."""


async def gently(items: Collection[T]) -> AsyncIterator[T]:
    """The items, with a turn of the event loop now and then."""
    until = perf_counter() + _TURN_SECONDS
    for number, item in enumerate(items, 1):
        yield item
        if number % _LOOK_ITEMS == 0 and perf_counter() >= until:
            await trio.lowlevel.checkpoint()
            until = perf_counter() + _TURN_SECONDS


async def gently_sorted(items: Sequence[T], key: Callable[[T], Any], *, reverse: bool = False) -> list[T]:
    """As `sorted`; `key` is called once for each."""
    keys = [key(item) async for item in gently(items)]
    runs: list[list[int]] = []
    for first in range(0, len(items), _RUN_ITEMS):
        run = range(first, min(first + _RUN_ITEMS, len(items)))
        runs.append(sorted(run, key=keys.__getitem__, reverse=reverse))
        await trio.lowlevel.checkpoint()
    while len(runs) > 1:
        merged: list[list[int]] = []
        for first in range(0, len(runs), 2):
            # Two runs one behind the other are what `sort` merges in one pass.
            both = [number for run in runs[first : first + 2] for number in run]
            both.sort(key=keys.__getitem__, reverse=reverse)
            merged.append(both)
            await trio.lowlevel.checkpoint()
        runs = merged
    return [items[number] for run in runs for number in run]
