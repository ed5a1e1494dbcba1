"""The flusher: a task that runs its work once after each scheduler round in which it was woken.

Law: `wake` is synchronous, cheap and idempotent; however often it is called within one round of the
scheduler, the work runs once, after everything else of that round. So all that was queued in a round leaves
together.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class Flusher:
    """One parked task and one piece of synchronous work."""

    __slots__ = ("_parked", "_wanted", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._wanted = False
        self._parked: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        """Run the work after this round. From the Trio thread only."""
        self._wanted = True
        task = self._parked
        if task is not None:
            self._parked = None
            trio.lowlevel.reschedule(task)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._wanted:
                await trio.lowlevel.checkpoint()
            else:
                self._parked = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            self._wanted = False
            self._work()

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED
