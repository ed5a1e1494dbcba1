"""Beats: the moments at which what happens now and then happens.

Law: beats of a length are its multiples on Trio's clock. So whoever waits for beats of 0.05 s and of 0.25 s is woken
together, and a node that has nothing to do wakes for its shortest beat only: each wake-up costs more than most of
what is done then.
"""

from __future__ import annotations

import trio

_ROUNDING = 1e-6
"""Of a beat: a clock that stands at one exactly, as virtual ones do, is past it."""


def beat_after(seconds: float) -> float:
    """The next beat of that length, in Trio's time."""
    return (int(trio.current_time() / seconds + _ROUNDING) + 1) * seconds


async def next_beat(seconds: float) -> None:
    """Sleep until then. A beat that comes late does not put off the next."""
    await trio.sleep_until(beat_after(seconds))
