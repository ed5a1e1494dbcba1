"""Beats of several lengths, in virtual time."""

import trio

from cluster.raft.runtime.beat import beat_after, next_beat


async def test_beats_of_several_lengths_fall_together(autojump_clock):
    await trio.sleep(0.013)
    short: list[float] = []
    long: list[float] = []

    async def count(seconds: float, moments: list[float]) -> None:
        while True:
            await next_beat(seconds)
            moments.append(round(trio.current_time(), 6))

    with trio.move_on_after(1.02):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count, 0.05, short)
            nursery.start_soon(count, 0.25, long)
    assert len(short) == 20
    assert len(long) == 4
    assert set(long) <= set(short)


async def test_a_clock_that_stands_at_a_beat_waits_for_the_next(autojump_clock):
    for _ in range(1000):
        before = trio.current_time()
        await next_beat(0.05)
        assert 0.049 < trio.current_time() - before < 0.051


async def test_a_beat_that_comes_late_does_not_put_off_the_next(mock_clock):
    mock_clock.jump(0.12)
    assert round(beat_after(0.05), 6) == 0.15
