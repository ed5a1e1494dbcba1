"""The scheduler of a simulation: virtual time, an order of tasks that the seed decides, and processes that stand still.

Law: a task belongs to the process (node) in whose context it was started; while that is paused, its tasks are not
run, as those of a stopped process are not, and what they waited for is there when it goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Any

import trio
from trio._core import _run
from trio.testing import MockClock

PROCESS: ContextVar[int] = ContextVar("PROCESS", default=0)
"""Number of the node that a task belongs to; 0 for those of the simulation itself."""
BEGINNING_SECONDS = 1000.0
"""Where virtual time begins: no machine has just been switched on."""


class Gate(deque[Any]):
    """Trio's queue of runnable tasks, which keeps those of paused processes back."""

    def __init__(self) -> None:
        super().__init__()
        self._paused: dict[int, list[Any]] = {}

    def append(self, task: Any) -> None:
        held = self._paused.get(task.context.get(PROCESS, 0))
        if held is None:
            super().append(task)
        else:
            held.append(task)

    def pause(self, process: int) -> None:
        self._paused.setdefault(process, [])

    def resume(self, process: int) -> None:
        self.extend(self._paused.pop(process, ()))


def install_gate() -> Gate:
    """To be called once within a run, before any process is paused."""
    runner = _run.GLOBAL_RUN_CONTEXT.runner
    gate = Gate()
    gate.extend(runner.runq)
    runner.runq = gate
    return gate


@contextmanager
def patched(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def run(main: Callable[[], Awaitable[Any]], seed: int) -> Any:
    """`trio.run` in virtual time; the same seed gives the same order of everything."""
    clock = MockClock(autojump_threshold=0)
    clock.jump(BEGINNING_SECONDS)
    random = Random(f"tasks {seed}")
    with patched(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True), patched(_run, "_r", random):
        return trio.run(main, clock=clock, strict_exception_groups=True)
