"""What a home node gives to a shard's leader, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.stream import StreamLimits
from cluster.node.kinds import Kind
from cluster.node.shards.switchboard import REFUSE_AFTER_SECONDS, Switchboard

SHARD = 1
QUEUE = QueueId(7)


class Links:
    """Take everything."""

    def __init__(self) -> None:
        self.batches = 0

    def send(self, peer: int, kind: int, body: Any) -> bool:
        if kind == Kind.SHARD_FROM_HOME:
            self.batches += "pizza" in str(body)
        return True

    def is_full(self, peer: int) -> bool:
        return False


class Publisher:
    def __init__(self) -> None:
        self.refusals: list[int] = []

    def published(self, first: int, count: int, size: int) -> None:
        raise AssertionError("nobody confirms here")

    def refused(self, first: int, count: int, size: int) -> None:
        self.refusals += range(first, first + count)


def test_what_comes_while_no_leader_is_heard_is_not_given_to_a_dead_link_and_is_refused_in_time() -> None:
    links, publisher = Links(), Publisher()
    board = Switchboard(
        node=1,
        incarnation=1,
        sender=links,
        wake=lambda: None,
        propose=lambda group: None,
        queue_unused=lambda queue: None,
        limits=StreamLimits(),
    )
    seat: Any = SimpleNamespace(is_headless=False, check_deadline=lambda: None)
    board.seats[SHARD] = seat
    board.leaders_announced(2, [[SHARD, 1]])

    def publish(number: int) -> None:
        stream = board.stream(SHARD)
        stream.publish([QUEUE], [b"pizza"], [5], 5, publisher, number)
        board.stirred(stream)
        board.pump()

    publish(0)
    assert links.batches == 1
    seat.is_headless = True  # the link is not known to be dead for some seconds yet
    board.check_deadlines(10.0)
    publish(1)
    assert links.batches == 1
    board.check_deadlines(10.0 + REFUSE_AFTER_SECONDS)
    assert publisher.refusals == [1]
    publish(2)
    seat.is_headless = False
    board.try_again()
    board.pump()
    assert links.batches == 2
    board.check_deadlines(20.0)
    assert publisher.refusals == [1]
