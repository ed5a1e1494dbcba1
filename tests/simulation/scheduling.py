"""The scheduler of a simulation: virtual time, an order of tasks that the seed decides, and processes that stand still.

Law: a task belongs to the process (node) in whose context it was started; while that is paused, its tasks are not
run, as those of a stopped process are not, and what they waited for is there when it goes on.
"""

from __future__ import annotations

import gc
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Any

import trio
from trio._core import _run

from tests.patched import patched
from tests.simulation.agenda import Agenda

PROCESS: ContextVar[int] = ContextVar("PROCESS", default=0)
"""Number of the node that a task belongs to; 0 for those of the simulation itself."""
BEGINNING_SECONDS = 1000.0
"""Where virtual time begins: no machine has just been switched on."""
_PASSES_BETWEEN_LOOKS = 1000


class Gate(deque[Any]):
    """Trio's queue of runnable tasks, which keeps those of paused processes back."""

    def __init__(self) -> None:
        super().__init__()
        self._paused: dict[int, list[Any]] = {}

    def append(self, task: Any) -> None:
        held = self._paused.get(task.context.get(PROCESS, 0)) if self._paused else None
        if held is None:
            super().append(task)
        else:
            held.append(task)

    def pause(self, process: int) -> None:
        self._paused.setdefault(process, [])

    def resume(self, process: int) -> None:
        self.extend(self._paused.pop(process, ()))

    def resume_all(self) -> None:
        for process in list(self._paused):
            self.resume(process)


def install_gate() -> Gate:
    """To be called once within a run, before any process is paused."""
    runner = _run.GLOBAL_RUN_CONTEXT.runner
    gate = Gate()
    gate.extend(runner.runq)
    runner.runq = gate
    return gate


class Clock(trio.abc.Clock):
    """Virtual time: it stands still while a task can run, and then jumps to whatever comes next."""

    def __init__(self, agenda: Agenda) -> None:
        self._now = BEGINNING_SECONDS
        self._agenda = agenda

    def start_clock(self) -> None:
        runner = _run.GLOBAL_RUN_CONTEXT.runner
        runner.io_manager = _Silence(runner.io_manager)  # type: ignore[assignment]
        # Asked several times for each step of a task whether it has one or the other.
        runner.instruments = frozenset()  # type: ignore[assignment]

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Asked for when no task can run: instead of sleeping, jump until one can. 0 then, else infinity."""
        runner, agenda = _run.GLOBAL_RUN_CONTEXT.runner, self._agenda
        while not runner.runq:
            then = min(runner.deadlines.next_deadline(), agenda.next_at)
            if then == math.inf:
                return math.inf
            self._now = max(self._now, then)
            runner.deadlines.expire(self._now)
            agenda.carry_out(self._now)
        return 0.0


class _Silence:
    """Trio's watch over file descriptors, which looks up now and then only: nothing but a signal comes from there, and
    what Trio tells itself when a run ends, and nothing else is left to do."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_events(self, timeout: float) -> Any:
        self._passes += 1
        return self._inner.get_events(timeout) if timeout or self._passes % _PASSES_BETWEEN_LOOKS == 0 else []

    def process_events(self, events: Any) -> None:
        if events:
            self._inner.process_events(events)


def run(main: Callable[[Agenda], Awaitable[Any]], seed: int) -> Any:
    """`trio.run` in virtual time; the same seed gives the same order of everything. `main` is given the agenda, whose
    acts the clock carries out."""
    random = Random(f"tasks {seed}")
    agenda = Agenda()
    with (
        patched(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        patched(_run, "_r", random),
        _collecting_seldom(),
    ):
        return trio.run(main, agenda, clock=Clock(agenda), strict_exception_groups=True)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """A world lives for seconds: what it leaves is collected afterwards."""
    thresholds = gc.get_threshold()
    gc.set_threshold(200_000, 20, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
