"""A channel's transaction (AMQP 0-9-1 §1.9, class tx): publishes and answers that take effect together.

Law: until commit nothing of it leaves the channel; a rollback forgets the publishes and makes the answered deliveries
outstanding again. On commit, everything for one shard goes in one batch, which the shard applies as a whole or not at
all. Parts for different shards are batches of their own: each is retried until it is done, and only a crash of this
node in the middle can leave one of them undone (see docs/guarantees.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.broker.channel.unacked import TagPiece, Verdict
from cluster.broker.shard.stream import ShardStream
from cluster.node.amqp.publish import Route

if TYPE_CHECKING:
    from cluster.node.amqp.channel import Channel
    from cluster.node.amqp.consuming import Holder


class Transaction:
    """What was asked for since tx.select, or the last commit or rollback.

    `size` is the bytes of its publishes: they count against the connection's unconfirmed bytes, so a transaction
    over that limit is refused when it is published to.
    """

    __slots__ = ("_answers", "_publishes", "size")

    def __init__(self) -> None:
        self._publishes: list[tuple[Route, list[bytes], list[int]]] = []
        self._answers: list[tuple[list[TagPiece[Holder]], Verdict]] = []
        self.size = 0

    def publish(self, route: Route, parts: list[bytes], sizes: list[int]) -> None:
        self._publishes.append((route, parts, sizes))
        self.size += sum(sizes)

    def answer(self, pieces: list[TagPiece[Holder]], verdict: Verdict) -> None:
        self._answers.append((pieces, verdict))

    def commit(self, channel: Channel) -> None:
        """Hand everything to the shards. Returns before it is committed: see `Channel.committed`."""
        streams: dict[ShardStream, None] = {}
        for route, _, _ in self._publishes:
            streams.update(dict.fromkeys([stream for stream, _ in route.targets]))
        for pieces, _ in self._answers:
            streams.update(dict.fromkeys([run.consumer.stream for _, _, run in pieces]))
        for stream in streams:
            stream.hold_together()
        for route, parts, sizes in self._publishes:
            channel.enqueue(route, parts, sizes)
        for pieces, verdict in self._answers:
            channel.answer(pieces, verdict)
        for stream in streams:
            stream.let_go()
        self._clear()

    def rollback(self, channel: Channel) -> None:
        for pieces, _ in self._answers:
            channel.unacked.put_back(pieces)
        self._clear()

    def _clear(self) -> None:
        self._publishes.clear()
        self._answers.clear()
        self.size = 0
