"""The writer: a thread that carries out one write after the other.

Law: one write at a time; its outcome, whatever it is, comes back on the Trio thread exactly once. A thread of
its own with a queue costs a third of `trio.to_thread` a write. Whoever stands still for the outcome has it without
a wake-up of the loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

import outcome
import trio

from cluster.raft.storage import GroupWrite, Storage


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """How a write ended, and how long it took by the wall."""

    seconds: float
    result: outcome.Outcome[None]


Done = Callable[[WriteOutcome], None]


class Writer(Protocol):
    """Carries out writes elsewhere. A fake may complete them when a test says so."""

    def submit(self, writes: Sequence[GroupWrite], done: Done) -> None:
        """Begin; `done` is called on the Trio thread, never from within this call."""

    def close(self) -> None:
        """Take no more; a write under way is finished, its outcome may be lost."""


class _Job:
    """A write on its way. Who takes `claim` first decides how its outcome comes back: the thread, that somebody who
    waits for `ended` finds it; somebody who waits no longer, that it is called back."""

    __slots__ = ("claim", "done", "ended", "outcome", "writes")

    def __init__(self, writes: Sequence[GroupWrite], done: Done) -> None:
        self.writes = writes
        self.done = done
        self.claim = threading.Lock()
        self.ended = threading.Lock()
        self.outcome: WriteOutcome | None = None


class ThreadWriter:
    """`Writer` over a storage that blocks. Make it on the Trio thread. `clock` gives seconds."""

    __slots__ = ("_clock", "_jobs", "_storage", "_token")

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._storage = storage
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        threading.Thread(target=self._work, name="raft-writer", daemon=True).start()

    def submit(self, writes: Sequence[GroupWrite], done: Done) -> None:
        job = _Job(writes, done)
        job.claim.acquire()
        self._jobs.put(job)

    def carry_out(self, writes: Sequence[GroupWrite], done: Done, patience_seconds: float) -> None:
        """The same, but stand still until it has ended, for so long at most; then `done` is called within this call."""
        job = _Job(writes, done)
        job.ended.acquire()
        self._jobs.put(job)
        if job.ended.acquire(timeout=patience_seconds) or not job.claim.acquire(blocking=False):
            assert job.outcome is not None
            done(job.outcome)

    def close(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            started = self._clock()
            result = outcome.capture(self._storage.write, job.writes)
            job.outcome = WriteOutcome(self._clock() - started, result)
            if job.claim.acquire(blocking=False):
                job.ended.release()
            else:
                try:
                    self._token.run_sync_soon(job.done, job.outcome)
                except trio.RunFinishedError:
                    return
            del job  # which holds what was written, and the next may be long in coming
