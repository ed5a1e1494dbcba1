"""What is to happen when: what moves octets, ends writes and breaks things.

Law: acts run in the order of their times, and of being asked for where those are equal; never from inside the call
that asked, and never while a task could run. The clock runs them, so that none of them costs a pass of the scheduler.
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
        self._over = False
        self._failure: BaseException | None = None
        self._failed = trio.Event()

    def at(self, time: float, act: Act) -> None:
        """Do it at `time`, or as soon as possible after it."""
        heapq.heappush(self._heap, (time, next(self._numbers), act))

    def after(self, seconds: float, act: Act) -> None:
        self.at(trio.current_time() + seconds, act)

    @property
    def next_at(self) -> float:
        """When there is something to do; infinity if never, and once `run` has ended or an act has failed."""
        return math.inf if self._over or not self._heap else self._heap[0][0]

    def carry_out(self, now: float) -> None:
        """What is due. What an act raises is kept for `run`."""
        heap = self._heap
        try:
            while heap and heap[0][0] <= now:
                heapq.heappop(heap)[2]()
        except BaseException as error:  # noqa: BLE001 - it ends the run
            self._failure, self._over = error, True
            self._failed.set()

    async def run(self) -> None:
        """Until cancelled. Raises what an act raised."""
        try:
            await self._failed.wait()
        finally:
            self._over = True
        assert self._failure is not None
        raise self._failure
