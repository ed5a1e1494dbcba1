"""What clients may say at once."""

from __future__ import annotations

import trio

from cluster.amqp import methods as m
from cluster.amqp.errors import connection_forced
from cluster.node.amqp.reading import EVENTS_AT_ONCE, RECEIVE_BYTES, RECEIVE_BYTES_MIN, WINDOW_SECONDS, Reading
from tests.amqp.client import method
from tests.node.amqp.alone import Client, Node, Taker


def passes(reading: Reading, wants: dict[str, int], *, count: int = 5, first: int = 0) -> list[dict[str, int]]:
    """Bytes of each connection in `count` passes, a window apart, if they want to say so many in each."""
    said = []
    for turn in range(first, first + count):
        in_pass = {}
        for connection, want in wants.items():
            size = min(want, reading.share(turn * WINDOW_SECONDS))
            reading.heard(connection, size)
            in_pass[connection] = size
        said.append(in_pass)
    return said


def test_a_connection_that_says_much_alone_is_heard_in_large_pieces() -> None:
    assert passes(Reading(), {"greedy": 1 << 30})[-1] == {"greedy": RECEIVE_BYTES}


def test_who_says_little_costs_others_nothing_and_is_heard_in_every_pass() -> None:
    for said in passes(Reading(), {"greedy": 1 << 30, "polite": 300, "acks": 6000}):
        assert said == {"greedy": RECEIVE_BYTES, "polite": 300, "acks": 6000}


def test_many_who_say_much_make_a_polite_one_wait_no_longer_than_one_of_them_does() -> None:
    """In one pass all of them together are heard for what one alone is."""
    for count in (2, 4, 7, RECEIVE_BYTES // RECEIVE_BYTES_MIN):
        wants = {str(number): 1 << 30 for number in range(count)}
        for said in passes(Reading(), {**wants, "polite": 300})[2:]:
            assert said.pop("polite") == 300
            assert sum(said.values()) <= RECEIVE_BYTES


def test_everybody_may_say_something_however_many_there_are() -> None:
    said = passes(Reading(), {str(number): 1 << 30 for number in range(1000)})[-1]
    assert set(said.values()) == {RECEIVE_BYTES_MIN}


def test_who_says_no_more_takes_nothing_from_the_others() -> None:
    reading = Reading()
    passes(reading, {"greedy": 1 << 30, "other": 1 << 30})
    assert passes(reading, {"greedy": 1 << 30}, first=5)[-1] == {"greedy": RECEIVE_BYTES}


def nacks(count: int) -> bytes:
    """As many things said as messages given back."""
    return b"".join(method(1, m.BasicNack(tag, False, True)) for tag in range(1, count + 1))


class Steps(trio.abc.Instrument):
    """What the taker was given in each step of any task."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self.given: list[int] = []
        self._before = taker.others

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._before = self._taker.others

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.given.append(self._taker.others - self._before)


async def test_others_have_their_turn_while_somebody_is_heard_who_said_a_thousand_things_at_once() -> None:
    said = nacks(5 * EVENTS_AT_ONCE - 1)
    assert len(said) < RECEIVE_BYTES
    async with trio.open_nursery() as nursery:
        client = Client(Node(), nursery)
        await client.open()
        steps = Steps(client.taker)
        trio.lowlevel.add_instrument(steps)
        await client.say(said)
        trio.lowlevel.remove_instrument(steps)
        assert client.taker.others == sum(steps.given) == 5 * EVENTS_AT_ONCE - 1
        assert max(steps.given) == EVENTS_AT_ONCE
        nursery.cancel_scope.cancel()


async def test_who_is_not_read_while_his_words_are_dealt_with_is_not_silent() -> None:
    said = nacks(EVENTS_AT_ONCE + 1)
    async with trio.open_nursery() as nursery:
        client = Client(Node(), nursery)
        await client.open()
        excused: list[int] = []
        client.connection.machine.excuse_silence = lambda: excused.append(client.taker.others)  # type: ignore[method-assign]
        await client.say(said)
        assert excused == [EVENTS_AT_ONCE]
        nursery.cancel_scope.cancel()


async def test_a_channel_that_a_closed_connection_had_asked_for_is_not_opened() -> None:
    said = nacks(EVENTS_AT_ONCE)
    async with trio.open_nursery() as nursery:
        client = Client(Node(), nursery)
        await client.open()
        take = client.taker.receive

        def take_and_close(event: object) -> None:
            take(event)
            if client.taker.others == EVENTS_AT_ONCE:
                client.connection.fail(connection_forced("closed by an operator"))

        client.taker.receive = take_and_close  # type: ignore[method-assign]
        await client.say(said + method(2, m.ChannelOpen()))
        assert client.taker.others == EVENTS_AT_ONCE
        assert 2 not in client.connection.channels
        nursery.cancel_scope.cancel()
