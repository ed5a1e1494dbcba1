"""Looks out for what clients say for a moment, before the node's loop goes to sleep.

Law: a client that waits for an answer says the next thing some ten microseconds after it. To fall asleep meanwhile and
be woken again takes longer than that, so where looking out has paid, the loop does it before each sleep. Where it has
not, it is done ever more seldom, at the least once in `PAUSE_MAX` sleeps: a node whose clients wait for disks, or that
has none, sleeps. It is never done while any task could go on. What is seen is read by whoever waits for it, in the
loop's next round.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import trio
from trio.lowlevel import add_instrument, remove_instrument

PAUSE_MAX = 64
"""Sleeps from one look-out in vain to the next."""


class Pollable(Protocol):
    def fileno(self) -> int: ...


class BusyPoll(trio.abc.Instrument):
    """Of one loop."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Each look-out takes `seconds` at most. `close` it."""
        self._seconds = seconds
        self._clock = clock
        self._readable = select.epoll()
        self._pause = 1
        """Sleeps from a look-out to the next."""
        self._due_in = 1

    def watch(self, sock: Pollable) -> None:
        """Until it is closed. Not where nobody looks out, nor beyond what the kernel watches for one user."""
        if not self._seconds:
            return
        with suppress(OSError):
            # Seen once: a client that is not read now, because it has published too much, is nothing to look out for.
            self._readable.register(sock, select.EPOLLIN | select.EPOLLET)

    def before_io_wait(self, timeout: float) -> None:
        """By Trio, before it waits for so many seconds; 0 if a task can go on."""
        if timeout <= 0:
            return
        self._due_in -= 1
        if self._due_in:
            return
        self._pause = 1 if self._sees(min(timeout, self._seconds)) else min(2 * self._pause, PAUSE_MAX)
        self._due_in = self._pause

    def _sees(self, seconds: float) -> bool:
        poll, clock = self._readable.poll, self._clock
        end = clock() + seconds
        while not poll(0, 1):
            if clock() >= end:
                return False
        return True

    def close(self) -> None:
        self._readable.close()


@contextmanager
def busy_polling(seconds: float) -> Iterator[BusyPoll]:
    """Of the loop that this is called in; with 0 seconds it never looks out."""
    busy_poll = BusyPoll(seconds)
    if seconds:
        add_instrument(busy_poll)
    try:
        yield busy_poll
    finally:
        if seconds:
            remove_instrument(busy_poll)
        busy_poll.close()
