"""A transaction over several shards, between a channel and its `Commit`.

Law: what concerns the replicated queues happens as a whole; what concerns nobody else (queues in memory, returns of
what has no queue, deliveries that are given back) follows when that is decided. If it fails, all that it answered is
outstanding again, or goes back to its queues where the channel is closed by then. It outlives its channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from cluster.broker.channel.unacked import TagPiece, Verdict, answered
from cluster.broker.errors import BrokerError, precondition_failed
from cluster.broker.shard.commit import Commit, Stage
from cluster.broker.shard.part import Part
from cluster.broker.shard.stream import ShardStream
from cluster.broker.shard.tx_ops import Refusal
from cluster.node.amqp.marks import marks_of
from cluster.node.amqp.side import LEADER_TIMEOUT_SECONDS, State
from cluster.node.amqp.transaction import MAYBE, Answers, RoutedPublish
from cluster.node.catalog.client import NoQuorum
from cluster.node.shards.view import LOCAL_SHARDS

if TYPE_CHECKING:
    from cluster.node.amqp.channel import Channel
    from cluster.node.amqp.consuming import Holder

_WHY = {
    Refusal.LATE: "a shard waited too long for it",
    Refusal.FULL: "a queue is full",
    Refusal.BUSY: "too many transactions are open",
    Refusal.TAKEN: "a delivery went to another consumer",
}


class Undertaking:
    """A `CommitSink`."""

    def __init__(self, channel: Channel, publishes: list[RoutedPublish], answers: Answers) -> None:
        """`publishes` and `answers` are for at least one replicated queue."""
        self._channel = channel
        self._publishes = publishes
        self._answers = answers
        self._size = sum(size for _, _, sizes in publishes for size in sizes)
        self._moved = trio.Event()
        broker = channel.connection.broker
        self._commit = Commit(broker.next_transaction(), self._parts(), self, channel.stirred)

    async def carry_out(self) -> None:
        """Until every shard has applied it. Raises BrokerError 406 if nothing of it is done; NoQuorum.

        A shard that has prepared it and has lost its majority then is not waited for: what is decided is decided.
        """
        self._channel.connection.budget.taken(self._size)
        self._commit.start()
        while self._commit.stage not in (Stage.DONE, Stage.FAILED):
            stage, self._moved = self._commit.stage, trio.Event()
            with trio.move_on_after(LEADER_TIMEOUT_SECONDS):
                await self._moved.wait()
                continue
            if stage is Stage.CONCLUDING:
                return
            lost = "a shard of the transaction has no leader with a quorum"
            if self._commit.give_up():
                raise NoQuorum(f"{lost}: nothing of it is carried out")
            raise NoQuorum(f"{lost}: {MAYBE}")
        if self._commit.stage is Stage.FAILED:
            raise self._error()

    def _error(self) -> BrokerError:
        assert self._commit.refusal is not None
        return precondition_failed(f"transaction not carried out: {_WHY[self._commit.refusal]}")

    def stage(self, stage: Stage) -> None:
        """`CommitSink`."""
        if stage is Stage.CONCLUDING:
            self._decided()
        elif stage is Stage.FAILED:
            self._failed()
        if stage in (Stage.DONE, Stage.FAILED):
            self._channel.connection.answered(self._size)
        self._moved.set()

    def _parts(self) -> dict[ShardStream, Part]:
        parts: dict[ShardStream, Part] = {}
        for route, records, sizes in self._publishes:
            marks = marks_of(route, records)
            for stream, queues in route.targets:
                if stream.shard < LOCAL_SHARDS:
                    part = parts.setdefault(stream, Part())
                    part.publishes.append((queues, records, sizes, sum(sizes), marks))
        for pieces, verdict in self._answers:
            for holder, first, count in answered([p for p in pieces if _belongs(p, verdict)]):
                part = parts.setdefault(holder.stream, Part())
                triples = part.settles if verdict is Verdict.DONE else part.rejects
                triples += (holder.queue, first, count)
        return parts

    def _decided(self) -> None:
        channel = self._channel
        for route, records, sizes in self._publishes:
            if route.targets:
                local = [(stream, queues) for stream, queues in route.targets if stream.shard >= LOCAL_SHARDS]
                channel.enqueue_rest(route, local, records, sizes)
            elif channel.state is State.OPEN:
                channel.enqueue(route, records, sizes)
        for pieces, verdict in self._answers:
            channel.answered_by_transaction([p for p in pieces if _belongs(p, verdict)], verdict)
            channel.answer([p for p in pieces if not _belongs(p, verdict)], verdict)

    def _failed(self) -> None:
        channel = self._channel
        for pieces, _ in self._answers:
            channel.unacked.put_back(pieces)
        if channel.state is State.CLOSED:
            channel.recover()


def _belongs(piece: TagPiece[Holder], verdict: Verdict) -> bool:
    """Is the answer part of what happens as a whole? What goes back to its queue does so if this node dies, too."""
    return piece[2].consumer.stream.shard < LOCAL_SHARDS and verdict is not Verdict.REQUEUED
