"""Long walks that let the rest of the node go on.

Law: whatever is done for each of many queues or bindings gives the event loop a turn now and then, and keeps it no
longer than a few milliseconds at a time: heartbeats of consensus do not wait for an operator's list.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from time import perf_counter
from typing import Any, TypeVar

import trio

T = TypeVar("T")
_LOOK_ITEMS = 100
"""Items between two looks at the clock."""
_TURN_SECONDS = 0.002
"""Between two turns of the event loop, and what comes until the next look."""
_SORTED_ITEMS = 2000
"""Sorted in one go, about; more only where so many are equal, which is quick."""
_SAMPLES = 16
"""Keys looked at for each such part, to tell where it begins."""


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
    parts: list[list[int]] = [[] for _ in range(1 + len(items) // _SORTED_ITEMS)]
    samples = sorted(keys[:: max(1, len(keys) // (_SAMPLES * len(parts)))])
    begins = [samples[len(samples) * part // len(parts)] for part in range(1, len(parts))]
    async for number in gently(range(len(items))):
        parts[bisect_right(begins, keys[number])].append(number)
    ordered: list[T] = []
    for part in reversed(parts) if reverse else parts:
        part.sort(key=keys.__getitem__, reverse=reverse)
        ordered += [items[number] for number in part]
        await trio.lowlevel.checkpoint()
    return ordered
