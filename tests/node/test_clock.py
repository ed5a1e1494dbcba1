"""The time that leaders of queues go by, beside a wall clock that is set."""

from __future__ import annotations

import pytest

from cluster.node.clock import SteadyClock

HOUR_MS = 3_600_000


def test_it_goes_with_the_wall_clock_where_that_goes_with_time() -> None:
    clock = SteadyClock(5000, 1.0)
    assert clock.now_ms(5250, 1.25) == 5250
    assert clock.now_ms(5250, 1.25) == 5250
    assert clock.now_ms(6003, 2.0) == 6003, "a few milliseconds at once"


@pytest.mark.parametrize("jump_ms", [-HOUR_MS, -500, 500, HOUR_MS])
def test_what_the_wall_clock_jumps_is_made_up_for_little_by_little(jump_ms: int) -> None:
    clock = SteadyClock(0, 0.0)
    for second in range(1, 11):
        before = clock.now_ms(1000 * (second - 1) + (jump_ms if second > 1 else 0), second - 1.0)
        now = clock.now_ms(1000 * second + jump_ms, float(second))
        assert 900 <= now - before <= 1100
    assert abs(clock.now_ms(10_000 + jump_ms, 10.0) - 10_000) <= 1000
    for second in range(11, 30):
        clock.now_ms(1000 * second, float(second))
    assert clock.now_ms(30_000, 30.0) == 30_000, "it jumped back, and nothing is left of it"
