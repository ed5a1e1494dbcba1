"""The writer: a thread that carries out one write after the other.

Law: one write at a time; its outcome, whatever it is, comes back on the Trio thread exactly once. A thread of
its own with a queue costs a third of `trio.to_thread` a write.
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


class ThreadWriter:
    """`Writer` over a storage that blocks. Make it on the Trio thread."""

    __slots__ = ("_jobs", "_storage", "_token")

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: SimpleQueue[tuple[Sequence[GroupWrite], Done] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="raft-writer", daemon=True).start()

    def submit(self, writes: Sequence[GroupWrite], done: Done) -> None:
        self._jobs.put((writes, done))

    def close(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            writes, done = job
            started = time.perf_counter()
            result = outcome.capture(self._storage.write, writes)
            finished = WriteOutcome(time.perf_counter() - started, result)
            try:
                self._token.run_sync_soon(done, finished)
            except trio.RunFinishedError:
                return
