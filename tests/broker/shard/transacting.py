"""The home nodes of committing.py: clients that consume, answer, publish, and do all of that in transactions too.

Law: what a client does is drawn from its world's Random, and what it is told is judged as it comes.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

from cluster.broker.shard.commit import Commit, Stage
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import AttachedConsumer, ReplyStatus, RequestOp
from cluster.broker.shard.part import Part
from cluster.broker.shard.stream import ShardStream, StreamLimits

SHARDS = (1, 2, 3)
Place = tuple[int, int]
"""(queue, seq)."""


def shard_of(queue: int) -> int:
    return queue // 1000


class ClientWorld(Protocol):
    """What clients need of the world they are in.

    enqueued  (queue, record) -> how often the log has put it there
    acked     messages that are acked without a transaction
    """

    random: Random
    queues: list[QueueId]
    deleted: set[int]
    enqueued: dict[tuple[int, bytes], int]
    acked: set[Place]
    deeds: list[Deed]

    def is_gone(self, place: Place) -> bool:
        """Has the message left its queue, as far as the log says?"""


class Deed:
    """What one transaction asks for, and what is known of it. `CommitSink`."""

    def __init__(self, world: ClientWorld, home: Home, number: int) -> None:
        self.world = world
        self.home = home
        self.name = (home.node, home.incarnation, number)
        self.publishes: list[tuple[int, bytes]] = []
        self.acks: list[Place] = []
        self.told: bool | None = None
        self.commit: Commit

    def stage(self, stage: Stage) -> None:
        if self.home.dead:
            return
        if stage is Stage.DONE:
            self.told = True
            self.home.open.remove(self)
            for queue, record in self.publishes:
                enqueued = self.world.enqueued.get((queue, record), 0)
                assert enqueued == 1 or queue in self.world.deleted, f"{self.name} is done and {record!r} is not there"
            for place in self.acks:
                gone = self.world.is_gone(place) or place[0] in self.world.deleted
                assert gone, f"{self.name} is done and {place} is still there"
        elif stage is Stage.FAILED:
            self.told = False
            self.home.open.remove(self)
            for queue, seq in self.acks:
                self.home.streams[shard_of(queue)].give_back(QueueId(queue), seq, 1, self.home)


class Consumer:
    def __init__(self, home: Home, number: int, queue: QueueId) -> None:
        self.home = home
        self.consumer = number
        self.queue = queue
        self.credit = 4
        self.held: set[int] = set()

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes) -> None:
        self.credit -= count
        self.held.update(range(first, first + count))

    def attached(self) -> AttachedConsumer:
        return AttachedConsumer(self.consumer, self.queue, self.credit, 10**9, False, False, ())

    def cancelled(self) -> None:
        self.held.clear()
        self.home.consumers.remove(self)


class Home:
    """A node with clients: one consumer for each queue, and transactions. `SettleSink`."""

    def __init__(self, world: ClientWorld, node: int, incarnation: int) -> None:
        self.world = world
        self.node = node
        self.incarnation = incarnation
        self.dead = False
        self.number = 0
        self.consumers: list[Consumer] = []
        self.open: list[Deed] = []
        limits = StreamLimits(world.random.choice([1, 2, 4]), world.random.choice([40, 9999]))
        self.streams = {s: ShardStream(shard=s, node=node, incarnation=incarnation, limits=limits) for s in SHARDS}

    def settled(self, count: int) -> None:
        """Committed."""

    def published(self, first: int, count: int, size: int) -> None:
        """`PublishSink` of what is published without a transaction."""

    def refused(self, first: int, count: int, size: int) -> None:
        """Not stored."""

    def consume(self, queue: QueueId) -> None:
        if any(consumer.queue == queue for consumer in self.consumers):
            return
        self.number += 1
        consumer = Consumer(self, self.number, queue)
        stream = self.streams[shard_of(queue)]
        self.consumers.append(consumer)

        def answered(status: int, value: object) -> None:
            if status == ReplyStatus.OK:
                stream.join(queue, consumer)
            else:
                self.consumers.remove(consumer)

        stream.request(RequestOp.CONSUME, queue, (consumer.consumer, consumer.credit, 10**9, 0), answered)

    def _take_held(self) -> tuple[Consumer, int] | None:
        holding = [consumer for consumer in self.consumers if consumer.held]
        if not holding:
            return None
        consumer = self.world.random.choice(holding)
        seq = self.world.random.choice(sorted(consumer.held))
        consumer.held.remove(seq)
        consumer.credit += 1
        self.streams[shard_of(consumer.queue)].credit(consumer.queue, consumer.consumer, 1, 0)
        return consumer, seq

    def answer(self) -> None:
        """Without a transaction."""
        taken = self._take_held()
        if taken is not None:
            consumer, seq = taken
            stream = self.streams[shard_of(consumer.queue)]
            if self.world.random.random() < 0.3:
                self.world.acked.add((consumer.queue, seq))
                stream.settle(consumer.queue, seq, 1, self)
            else:
                stream.give_back(consumer.queue, seq, 1, self)

    def publish(self) -> None:
        queue = self.world.random.choice(self.world.queues)
        self.streams[shard_of(queue)].publish([queue], [b"plain"], [5], 5, self, 0)

    def transact(self) -> None:
        random = self.world.random
        self.number += 1
        deed = Deed(self.world, self, self.number)
        parts: dict[ShardStream, Part] = {}
        for i in range(random.randint(0, 3)):
            record = b"%d.%d.%d.%d" % (*deed.name, i)
            into = random.sample(self.world.queues, random.choice([1, 1, 2]))
            for shard in sorted({shard_of(queue) for queue in into}):
                queues = [queue for queue in into if shard_of(queue) == shard]
                deed.publishes += [(queue, record) for queue in queues]
                part = parts.setdefault(self.streams[shard], Part())
                part.publishes.append((queues, [record], [len(record)], len(record), ()))
        for _ in range(random.randint(0, 3)):
            taken = self._take_held()
            if taken is not None:
                consumer, seq = taken
                deed.acks.append((consumer.queue, seq))
                part = parts.setdefault(self.streams[shard_of(consumer.queue)], Part())
                part.settles += (consumer.queue, seq, 1)
        if parts:
            self.open.append(deed)
            self.world.deeds.append(deed)
            deed.commit = Commit(self.number, parts, deed, lambda stream: None)
            deed.commit.start()

    def lose_patience(self) -> None:
        if self.open:
            self.world.random.choice(self.open).commit.give_up()
