"""What a loop looks out for before it sleeps, and how often."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
import trio
import trio.testing

from cluster.node.amqp.busy_poll import PAUSE_MAX, BusyPoll, busy_polling

SECONDS = 50e-6


class Clock:
    """A microsecond passes with each look at it."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.looks * 1e-6


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def busy_poll(clock: Clock, ends: tuple[socket.socket, socket.socket]) -> Iterator[BusyPoll]:
    polling = BusyPoll(SECONDS, clock=clock)
    polling.watch(ends[0])
    yield polling
    polling.close()


def looks_out(busy_poll: BusyPoll, clock: Clock, timeout: float = 1.0) -> bool:
    """Does it before this sleep?"""
    before = clock.looks
    busy_poll.before_io_wait(timeout)
    return clock.looks > before


def test_who_has_said_something_ends_the_look_out_at_once(
    busy_poll: BusyPoll, clock: Clock, ends: tuple[socket.socket, socket.socket]
) -> None:
    ends[1].send(b"x")
    busy_poll.before_io_wait(1.0)
    assert clock.looks == 1


def test_a_look_out_in_vain_takes_as_long_as_it_may(busy_poll: BusyPoll, clock: Clock) -> None:
    busy_poll.before_io_wait(1.0)
    assert 50 <= clock.looks <= 53


def test_it_takes_no_longer_than_the_loop_would_sleep(busy_poll: BusyPoll, clock: Clock) -> None:
    busy_poll.before_io_wait(10e-6)
    assert 10 <= clock.looks <= 13


def test_while_a_task_can_go_on_nobody_looks_out(busy_poll: BusyPoll, clock: Clock) -> None:
    assert not looks_out(busy_poll, clock, timeout=0)


def test_where_it_pays_it_comes_before_each_sleep(
    busy_poll: BusyPoll, clock: Clock, ends: tuple[socket.socket, socket.socket]
) -> None:
    for _ in range(10):
        ends[1].send(b"x")
        assert looks_out(busy_poll, clock)
        ends[0].recv(1)


def test_in_vain_it_comes_ever_more_seldom_and_at_the_least_once_in_so_many_sleeps(
    busy_poll: BusyPoll, clock: Clock
) -> None:
    at = [sleep for sleep in range(4 * PAUSE_MAX) if looks_out(busy_poll, clock)]
    gaps = [later - sooner for sooner, later in pairwise(at)]
    assert gaps[:6] == [2, 4, 8, 16, 32, PAUSE_MAX]
    assert set(gaps[6:]) == {PAUSE_MAX}


def test_one_that_pays_makes_it_come_before_each_sleep_again(
    busy_poll: BusyPoll, clock: Clock, ends: tuple[socket.socket, socket.socket]
) -> None:
    for _ in range(PAUSE_MAX):
        busy_poll.before_io_wait(1.0)
    ends[1].send(b"x")
    while not looks_out(busy_poll, clock):
        pass
    ends[0].recv(1)
    assert looks_out(busy_poll, clock)


def test_a_client_that_is_not_read_is_looked_out_for_once(
    busy_poll: BusyPoll, clock: Clock, ends: tuple[socket.socket, socket.socket]
) -> None:
    ends[1].send(b"x")
    busy_poll.before_io_wait(1.0)
    before = clock.looks
    busy_poll.before_io_wait(1.0)
    assert clock.looks - before >= 50


def test_a_client_that_has_closed_is_not_looked_out_for(
    busy_poll: BusyPoll, clock: Clock, ends: tuple[socket.socket, socket.socket]
) -> None:
    ends[0].close()
    ends[1].close()
    busy_poll.before_io_wait(1.0)
    assert clock.looks >= 50


async def test_the_loop_hears_of_what_was_seen(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    with busy_polling(1.0) as busy_poll, trio.fail_after(10):
        busy_poll.watch(ours)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.wait_readable, ours)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"x")


async def test_with_no_time_the_loop_has_no_instrument_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(BusyPoll, "before_io_wait", lambda self, timeout: looked.append(timeout))
    with busy_polling(0):
        await trio.lowlevel.checkpoint()
    assert not looked
    with busy_polling(1e-6):
        await trio.lowlevel.checkpoint()
    assert looked
