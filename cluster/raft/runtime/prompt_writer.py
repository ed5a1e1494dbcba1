"""The prompt writer: small writes without a change of threads, as long as the disk answers at once.

Law: a write is carried out on the Trio thread only if it is small and brings entries or a vote and nothing else, if
the disk was quick on average and nothing was slow within `SLOW_SECONDS_AGO`, and if nothing large was written a
moment ago: a node with much to do does it beside the disk. Everything else goes to the thread, and so does the
first write after a slow one. So the loop stands still for no longer than a quick write takes, but for the one
that finds out that the disk stalls; for that time the node is silent, and its leaderships go to others.
Handing a write to a thread and its outcome back costs more CPU than the write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import outcome

from cluster.raft.runtime.writer import Done, ThreadWriter, WriteOutcome
from cluster.raft.storage import GroupWrite, Storage

PROMPT_BYTES_MAX = 8 << 10
"""Entries of one prompt write, in bytes."""
PROMPT_GROUPS_MAX = 4
QUICK_SECONDS = 0.005
"""The disk is quick while a write takes less on average."""
SLOW_SECONDS = 0.1
"""A write that took longer was slow."""
SLOW_SECONDS_AGO = 5.0
"""For so long after a slow write, and after the start, everything goes to the thread."""
BUSY_SECONDS_AGO = 0.1
"""For so long after a write too large to be prompt, everything goes to the thread."""
_OUTLIER_SECONDS = 4 * QUICK_SECONDS
"""What counts as more counts as so much: one write that waited for a processor does not make a disk slow."""
_WEIGHT = 1 / 16
"""Of the latest write in the average."""


class PromptWriter:
    """`Writer` for whoever calls `carry_out` at the end of a turn, while `is_attended`. Make it on the Trio thread.

    `clock` gives monotonic seconds.
    """

    __slots__ = (
        "_busy_until",
        "_clock",
        "_done",
        "_held",
        "_mean_seconds",
        "_slow_until",
        "_storage",
        "_thread",
        "is_attended",
    )

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_attended = False
        """Will somebody call `carry_out` before this turn of the loop is over?"""
        self._clock = clock
        self._storage = storage
        self._thread = ThreadWriter(storage)
        self._held: Sequence[GroupWrite] = ()
        """The write that `carry_out` is to do."""
        self._done: Done | None = None
        """Of the write under way."""
        self._mean_seconds = 0.0
        self._busy_until = 0.0
        self._slow_until = clock() + SLOW_SECONDS_AGO

    def submit(self, writes: Sequence[GroupWrite], done: Done) -> None:
        self._done = done
        if self.is_attended and self._may_be_prompt(writes):
            self._held = writes
        else:
            self._thread.submit(writes, self._ended)

    def carry_out(self) -> bool:
        """Do the write that was held back for the end of the turn. True if there was one: its outcome is told."""
        if not self._held:
            return False
        writes, self._held = self._held, ()
        started = self._clock()
        result = outcome.capture(self._storage.write, writes)
        self._ended(WriteOutcome(self._clock() - started, result))
        return True

    def close(self) -> None:
        self._thread.close()

    def _may_be_prompt(self, writes: Sequence[GroupWrite]) -> bool:
        now = self._clock()
        if not _is_small(writes):
            self._busy_until = now + BUSY_SECONDS_AGO
            return False
        return self._mean_seconds <= QUICK_SECONDS and now >= self._busy_until and now >= self._slow_until

    def _ended(self, ended: WriteOutcome) -> None:
        seconds = ended.seconds
        self._mean_seconds += (min(seconds, _OUTLIER_SECONDS) - self._mean_seconds) * _WEIGHT
        if seconds > SLOW_SECONDS:
            self._slow_until = self._clock() + SLOW_SECONDS_AGO
        done, self._done = self._done, None
        assert done is not None, "a write ended that was not begun"
        done(ended)


def _is_small(writes: Sequence[GroupWrite]) -> bool:
    if len(writes) > PROMPT_GROUPS_MAX:
        return False
    size = 0
    for write in writes:
        if write.stage or write.install or write.snapshot or write.delete_entries or write.replace_entries:
            return False
        for entry in write.entries:
            size += len(entry.data)
    return size <= PROMPT_BYTES_MAX
