"""A channel's transaction (AMQP 0-9-1 §1.9, class tx): publishes and answers that take effect together.

Law: until commit nothing of it leaves the channel; a rollback forgets the publishes and makes the answered deliveries
outstanding again. What is for one shard goes there in one batch. What is for several replicated shards is carried by
an `Undertaking`: all of it happens, or nothing. Queues that are kept in memory follow when that is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.amqp.pieces import Octets
from cluster.broker.channel.unacked import TagPiece, Verdict
from cluster.broker.errors import precondition_failed
from cluster.broker.shard.stream import ShardStream
from cluster.node.amqp.publish import Route
from cluster.node.catalog.client import NoQuorum
from cluster.node.shards.view import LOCAL_SHARDS

if TYPE_CHECKING:
    from cluster.node.amqp.channel import Channel
    from cluster.node.amqp.consuming import Holder

RoutedPublish = tuple[Route, list[Octets], list[int]]
"""(route, parts of the records, sizes): what `Publishing.enqueue` takes."""
MAYBE = "it may be carried out yet"
"""Of a transaction that was under way when patience ended."""
Answers = list[tuple[list["TagPiece[Holder]"], Verdict]]
"""What was said of deliveries, in order."""


class Transaction:
    """What was asked for since tx.select, or the last commit or rollback.

    `size` is the bytes of its publishes: they count against the connection's unconfirmed bytes, so a transaction
    over that limit is refused when it is published to.
    """

    __slots__ = ("_answers", "_publishes", "is_torn", "size")

    def __init__(self) -> None:
        self._publishes: list[RoutedPublish] = []
        self._answers: Answers = []
        self.size = 0
        self.is_torn = False
        """Was a publish of the last commit refused alone? A queue in memory was full, or refuses since just now."""

    def publish(self, route: Route, parts: list[Octets], sizes: list[int]) -> None:
        self._publishes.append((route, parts, sizes))
        self.size += sum(sizes)

    def answer(self, pieces: list[TagPiece[Holder]], verdict: Verdict) -> None:
        self._answers.append((pieces, verdict))

    @property
    def publish_count(self) -> int:
        """Messages that wait for the commit."""
        return sum([len(sizes) for _, _, sizes in self._publishes])

    @property
    def answer_count(self) -> int:
        """Deliveries whose answers do."""
        return sum([end - first for pieces, _ in self._answers for first, end, _ in pieces])

    async def commit(self, channel: Channel) -> None:
        """Until it is carried out. Raises BrokerError 406 if it is not; NoQuorum, which ends in MAYBE unless nothing of
        it is."""
        publishes, answers = self._publishes, self._answers
        self._clear()
        streams = _streams(publishes, answers)
        refusable = any(route.refusable for route, _, _ in publishes)
        if (len(streams) > 1 or refusable) and any(stream.shard < LOCAL_SHARDS for stream in streams):
            await channel.undertake(publishes, answers)
        else:
            _at_once(channel, streams, publishes, answers)
        try:
            await channel.committed()
        except NoQuorum as error:
            raise NoQuorum(f"{error}: {MAYBE}") from error
        if self.is_torn:
            self.is_torn = False
            raise precondition_failed("partial tx completion")

    def rollback(self, channel: Channel) -> None:
        for pieces, _ in self._answers:
            channel.unacked.put_back(pieces)
        self._clear()

    def _clear(self) -> None:
        self._publishes = []
        self._answers = []
        self.size = 0


def _streams(publishes: list[RoutedPublish], answers: Answers) -> dict[ShardStream, None]:
    """Everybody who has to do with it, once."""
    streams: dict[ShardStream, None] = {}
    for route, _, _ in publishes:
        streams.update(dict.fromkeys([stream for stream, _ in route.targets]))
    for pieces, _ in answers:
        streams.update(dict.fromkeys([run.consumer.stream for _, _, run in pieces]))
    return streams


def _at_once(
    channel: Channel, streams: dict[ShardStream, None], publishes: list[RoutedPublish], answers: Answers
) -> None:
    """In one batch for one shard; queues in memory on several nodes are no concern of each other."""
    for stream in streams:
        stream.hold_together()
    for route, parts, sizes in publishes:
        channel.enqueue(route, parts, sizes)
    for pieces, verdict in answers:
        channel.answer(pieces, verdict)
    for stream in streams:
        stream.let_go()
