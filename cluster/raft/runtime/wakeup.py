"""A wake-up: one task that sleeps until there is work.

Law: `wake` is synchronous, cheap and idempotent; however often it is called within one round of the scheduler,
the task wakes once, after everything else of that round. So what came up in a round is handled together.
A wake-up that is led wakes the waiter of another instead, which then asks `take`: parts that make work for each
other take their turns in one step of one task, and the scheduler passes once for all of them.
"""

from __future__ import annotations

import trio


class Wakeup:
    """One waiter, any number of wakers on the same Trio thread."""

    __slots__ = ("_leader", "_parked", "_wanted")

    def __init__(self) -> None:
        self._wanted = False
        self._parked: trio.lowlevel.Task | None = None
        self._leader: Wakeup | None = None

    def wake(self) -> None:
        """Let the waiter run after this round."""
        if not self._wanted:
            self._wanted = True
            self._rouse()

    def _rouse(self) -> None:
        waker = self
        if self._leader is not None:
            waker = self._leader
            waker._wanted = True
        task = waker._parked
        if task is not None:
            waker._parked = None
            trio.lowlevel.reschedule(task)

    @property
    def is_wanted(self) -> bool:
        """Would `take` be true?"""
        return self._wanted

    def take(self) -> bool:
        """True if `wake` was called since the last time; for whoever does the work without waiting."""
        wanted, self._wanted = self._wanted, False
        return wanted

    def led_by(self, leader: Wakeup | None) -> None:
        """From now on wake the waiter of `leader`, the own one sleeps on; None: the own one again."""
        self._leader = leader
        if self._wanted:
            self._rouse()

    async def wait(self) -> None:
        """Return in a later round than this one, once `wake` was called since the last return."""
        if self._wanted and self._leader is None:
            await trio.lowlevel.checkpoint()
        else:
            assert self._parked is None, "two tasks wait for one wake-up"
            self._parked = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._wanted = False

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED
