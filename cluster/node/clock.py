"""The time of day that the leaders of queues go by.

Law: it never goes back, and is never faster or slower than time by more than `FOLLOWED_SHARE`. So it follows the wall
clock where that is right, and where it is set, for a moment or for good, no message is old at once and none stays
young: what the wall clock jumped is made up for little by little.
"""

from __future__ import annotations

import time

FOLLOWED_SHARE = 0.1
"""Of the time that went by, what is made up of a difference to the wall clock."""


class SteadyClock:
    """Times are given by the caller: Unix milliseconds of the wall clock, seconds of a monotonic one."""

    __slots__ = ("_at", "_now_ms")

    def __init__(self, wall_ms: int, monotonic: float) -> None:
        self._now_ms = float(wall_ms)
        self._at = monotonic

    def now_ms(self, wall_ms: int, monotonic: float) -> int:
        """Unix milliseconds."""
        passed_ms = (monotonic - self._at) * 1000
        assert passed_ms >= 0, "the monotonic clock went back"
        self._at = monotonic
        made_up = FOLLOWED_SHARE * passed_ms
        self._now_ms += passed_ms
        self._now_ms += min(made_up, max(-made_up, wall_ms - self._now_ms))
        return int(self._now_ms)


def wall_clock_ms() -> int:
    """Unix milliseconds, as this machine has them."""
    return time.time_ns() // 1_000_000
