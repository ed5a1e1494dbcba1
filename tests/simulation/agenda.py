"""What is to happen when: the one task that moves octets, ends writes and breaks things.

Law: acts run in the order of their times, and of being asked for where those are equal; never from inside the call
that asked.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

import trio

Act = Callable[[], object]


class Agenda:
    """Times are virtual seconds of `trio.current_time`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Act]] = []
        self._numbers = count()
        self._earlier = trio.Event()

    def at(self, time: float, act: Act) -> None:
        """Do it at `time`, or as soon as possible after it."""
        if not self._heap or time < self._heap[0][0]:
            self._earlier.set()
        heapq.heappush(self._heap, (time, next(self._numbers), act))

    def after(self, seconds: float, act: Act) -> None:
        self.at(trio.current_time() + seconds, act)

    async def run(self) -> None:
        """Until cancelled. Raises what an act raises."""
        heap = self._heap
        while True:
            while heap and heap[0][0] <= trio.current_time():
                heapq.heappop(heap)[2]()
            self._earlier = trio.Event()
            with trio.move_on_at(heap[0][0] if heap else math.inf):
                await self._earlier.wait()
