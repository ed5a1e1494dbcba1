"""The prompt writer: small writes are waited for, as long as the disk answers at once.

Law: a write begins at the end of the turn, after what the turn has to send: the thread that writes wants the
interpreter, too. The loop stands still for a write only if it is small and brings entries or a vote and nothing else,
if the disk was quick on average and nothing was slow within `SLOW_SECONDS_AGO`, and if nothing large was written a
moment ago: a node with much to do does it beside the disk. And it stands still for `PATIENCE_SECONDS` at most: a disk
that stalls is noticed as ever. What waking the loop for an outcome costs, passes of the scheduler and two threads that
want the interpreter at the same time, is more than a small write does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cluster.raft.runtime.writer import Done, ThreadWriter, WriteOutcome
from cluster.raft.storage import GroupWrite, Storage

PROMPT_BYTES_MAX = 8 << 10
"""Entries of one prompt write, in bytes."""
PROMPT_GROUPS_MAX = 4
PATIENCE_SECONDS = 0.02
"""The loop stands still for one write for so long at most."""
QUICK_SECONDS = 0.005
"""The disk is quick while a write takes less on average."""
SLOW_SECONDS = 0.1
"""A write that took longer was slow."""
SLOW_SECONDS_AGO = 5.0
"""For so long after a slow write, and after the start, nothing is waited for."""
BUSY_SECONDS_AGO = 0.1
"""For so long after a write too large to be prompt, nothing is waited for."""
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
        "_patience_seconds",
        "_slow_until",
        "_thread",
        "is_attended",
    )

    def __init__(
        self,
        storage: Storage,
        clock: Callable[[], float] = time.monotonic,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.is_attended = False
        """Will somebody call `carry_out` before this turn of the loop is over?"""
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._thread = ThreadWriter(storage, clock)
        self._held: Sequence[GroupWrite] = ()
        """The write that `carry_out` is to do."""
        self._done: Done | None = None
        """Of the write under way."""
        self._mean_seconds = 0.0
        self._busy_until = 0.0
        self._slow_until = clock() + SLOW_SECONDS_AGO

    def submit(self, writes: Sequence[GroupWrite], done: Done) -> None:
        self._done = done
        if self.is_attended:
            self._held = writes
        else:
            self._thread.submit(writes, self._ended)

    def carry_out(self) -> None:
        """Begin the write that was held back for the end of the turn; if it may be prompt, its outcome is told now."""
        if self._held:
            writes, self._held = self._held, ()
            if self._may_be_prompt(writes):
                self._thread.carry_out(writes, self._ended, self._patience_seconds)
            else:
                self._thread.submit(writes, self._ended)

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
        if not write.is_plain:
            return False
        size += write.entry_bytes
    return size <= PROMPT_BYTES_MAX
