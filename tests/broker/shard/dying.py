"""Two shards whose messages die into each other, driven by one seed: logs, leaders that change, post that is lost.

Law: one Random decides everything. A shard is a log, of which an election may lose the uncommitted tail, and a state
that is restored from a snapshot or goes on. One home node publishes to both and answers what it gets. The ledger says
what has to become of every message.

    python -m tests.broker.shard.dying SEED [COUNT]
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from random import Random

import msgpack

from cluster.broker.shard.entry import SHARD_SESSIONS, Batch, QueueId
from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.messages import AttachedConsumer, FromHome, RequestOp, ToHome
from cluster.broker.shard.stream import ShardStream
from tests.broker.shard.graves import (
    FAR,
    GRAVES,
    LIMITED,
    LONG,
    PARKING,
    REJECTING,
    SETTINGS,
    SHARD_OF,
    TTL,
    Catalog,
    MessageId,
    make_record,
    message_of,
)
from tests.broker.shard.grouped import Group
from tests.broker.shard.ledger import Ledger
from tests.broker.shard.link import heard
from tests.broker.shard.naive import NaiveState, same_state
from tests.broker.shard.seeds import main

MODULE = "tests.broker.shard.dying"
_RUN = struct.Struct("<I")


class Consumer:
    """Holds what it gets from one queue until it is told to answer."""

    def __init__(self, world: World, number: int, queue: QueueId) -> None:
        self.world = world
        self.consumer = number
        self.queue = queue
        self.credit = 5
        self.bytes_credit = 10**9
        self.held: dict[int, MessageId] = {}

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes) -> None:
        self.credit -= count
        self.bytes_credit -= len(records)
        position = 0
        for i, (size,) in enumerate(_RUN.iter_unpack(sizes)):
            self.held[first + i] = message_of(records[position : position + size])
            position += size
            self.world.ledger.delivered(self.queue, first + i, redelivered)

    def attached(self) -> AttachedConsumer:
        return AttachedConsumer(self.consumer, self.queue, self.credit, self.bytes_credit, False, False, ())

    def cancelled(self) -> None:
        raise AssertionError("no queue is deleted")

    def settled(self, count: int) -> None:
        """Committed."""

    def answer(self, what: str) -> None:
        if not self.held:
            return
        seq = min(self.held)
        del self.held[seq]
        stream = self.world.shards[SHARD_OF[self.queue]].stream
        act = {"ack": stream.settle, "reject": stream.reject, "requeue": stream.give_back}[what]
        act(self.queue, seq, 1, self)
        self.credit += 1
        stream.credit(self.queue, self.consumer, 1, 0)


class Shard(Group):
    """Its log, its state, its leader, and the home node's stream to it."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world)
        self.world = world
        self.number = number
        self.naive = NaiveState()
        self.stream = ShardStream(shard=number, node=1, incarnation=1)
        self.inbox: deque[Callable[[], None]] = deque()
        """Words on their way to this shard's leader or home; any prefix of deliveries may be lost with an election."""

    def elect(self) -> None:
        del self.log[self.world.random.randrange(self.commit, len(self.log) + 1) :]
        self.log.append(None)
        self.term += 1
        self.commit_to(len(self.log))
        self.leader = None
        self.apply()
        self.state_may_restart()
        self.leader = ShardLeader(
            self.state,
            self.load,
            LeaderLimits(payload_cache_bytes=self.world.random.choice([100, 10**6])),
            surroundings=self.world.catalog,
            shard=self.number,
            now_ms=self.world.now_ms,
        )
        self.inbox.clear()
        self.stream.leader_lost(1)
        self.stream.leader_is(1, self.term)

    def link_lost(self) -> None:
        """Between the home node and the leader, with everything on it; it comes back at once."""
        self.inbox.clear()
        self.stream.leader_lost(1)
        if self.leader is not None:
            self.leader.node_lost(1)
            self.stream.leader_is(1, self.term)

    def load(self, index: int) -> bytes:
        data = self.log[index - 1]
        assert data is not None
        assert index in self.state.live
        return data

    def commit_to(self, commit: int) -> None:
        while self.commit < commit:
            self.commit += 1
            data = self.log[self.commit - 1]
            if data is not None:
                change = self.naive.apply(self.commit, data)
                self.world.ledger.committed(change.enqueued, change.settled)

    def home_speaks(self) -> None:
        words = self.stream.take_out()
        if words is not None:
            term = self.stream.term
            told = heard(words, self.number, term, is_at_home=self.world.random.random() < 0.5)
            self.inbox.append(lambda: self.leader_hears(term, told))

    def leader_hears(self, term: int, words: FromHome) -> None:
        leader = self.leader
        if leader is None or term != self.term:
            return
        if words.attach is not None:
            leader.attach(1, words.attach)
            if leader.attaching:
                leader.all_attached()
        for batch in words.batches:
            leader.receive_batch(batch)
        for queue, consumer, messages, size in words.credits:
            leader.credit(1, QueueId(queue), consumer, messages, size)
        for request, op, queue, args in words.requests:
            leader.request(1, request, RequestOp(op), QueueId(queue), args)

    def leader_speaks(self) -> None:
        leader = self.leader
        if leader is None:
            return
        leader.tick(self.world.now_ms)
        for node, words in leader.take_out().items():
            if node >= SHARD_SESSIONS:
                assert words.receipt is not None
                self.world.post_receipt(node - SHARD_SESSIONS, self.number, words.receipt)
            else:
                data, term = msgpack.packb(words.to_wire(self.number, self.term)), self.term
                self.inbox.append(lambda d=data, t=term: self.home_hears(t, d))  # type: ignore[misc]
        for target, session, _, batch in leader.take_post():
            self.world.post(target, session, batch)
        self.in_one_place(leader)

    def home_hears(self, term: int, data: bytes) -> None:
        if term == self.stream.term:
            self.stream.receive(ToHome.from_wire(msgpack.unpackb(data)))

    def in_one_place(self, leader: ShardLeader) -> None:
        """Every alive message of every queue is in one place."""
        for queue in leader.queues.values():
            places = (queue.ready, queue.purging, queue.dying, queue.delayed, queue.parked)
            everywhere = [n for place in places for a, b in place for n in range(a, b)]
            everywhere += [n for a, b, _ in queue.unacked for n in range(a, b)]
            alive = [n for a, b in queue.state.alive_parts(0, queue.state.next_seq) for n in range(a, b)]
            assert sorted(everywhere) == alive, f"queue {queue.id}: {sorted(everywhere)} are placed, {alive} alive"


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.catalog = Catalog()
        self.now_ms = 1000
        self.faults = True
        self.ledger = Ledger()
        self.messages = 0
        self.posted: list[Callable[[], None]] = []
        """Post and receipts on their way, in no order; some are lost."""
        self.shards = {n: Shard(self, n) for n in (1, 2)}
        self.consumers: list[Consumer] = []
        for number, queue in enumerate((LIMITED, LONG, TTL, PARKING, FAR), start=1):
            consumer = Consumer(self, number, queue)
            self.consumers.append(consumer)
            stream = self.shards[SHARD_OF[queue]].stream
            stream.join(queue, consumer)

    # ---- what shards say

    def post(self, target: int, session: int, batch: Batch | None) -> None:
        wire = msgpack.packb(batch.to_wire()) if batch is not None else None

        def arrive() -> None:
            leader = self.shards[target].leader
            if leader is not None:
                leader.receive_post(session, Batch.from_wire(msgpack.unpackb(wire)) if wire is not None else None)

        self.posted.append(arrive)

    def post_receipt(self, source: int, target: int, receipt: tuple[int, int]) -> None:
        def arrive() -> None:
            leader = self.shards[source].leader
            if leader is not None:
                leader.post_receipt(target, *receipt)

        self.posted.append(arrive)

    def carry_post(self) -> None:
        if not self.posted:
            return
        arrive = self.posted.pop(self.random.randrange(len(self.posted)))
        fate = self.random.random() if self.faults else 0.5
        if fate >= 0.15:
            arrive()
        if fate > 0.9:
            self.posted.append(arrive)

    # ---- the client

    def publish(self) -> None:
        queue = self.random.choice(list(SETTINGS))
        count = self.random.randrange(1, 4)
        first, self.messages = self.messages, self.messages + count
        records = [make_record(first + i) for i in range(count)]
        sizes = [len(r) for r in records]
        marks = [(0, int(Mark.PRIORITY), self.random.randrange(1, 5))] if queue == LONG else []
        if self.random.random() < 0.2:
            marks.append((0, int(Mark.DELAY), self.random.randrange(1, 60)))
        if self.random.random() < 0.2:
            marks.append((0, int(Mark.EXPIRATION), self.random.randrange(1, 60)))
        stream = self.shards[SHARD_OF[queue]].stream
        stream.mark(marks)
        stream.publish([queue], records, sizes, sum(sizes), self, first)

    def published(self, first: int, count: int, size: int) -> None:
        self.ledger.answered(first, count, stored=True)

    def refused(self, first: int, count: int, size: int) -> None:
        self.ledger.answered(first, count, stored=False)

    # ---- time

    def step(self) -> None:
        random = self.random
        shard = self.shards[random.choice([1, 2])]
        consumer = random.choice(self.consumers)
        moves: list[tuple[float, Callable[[], object]]] = [
            (4, self.publish),
            (6, lambda: consumer.answer(random.choice(["ack", "reject", "requeue", "requeue"]))),
            (10, shard.home_speaks),
            (16, lambda: shard.inbox and shard.inbox.popleft()()),
            (12, shard.leader_speaks),
            (10, shard.propose),
            (8, lambda: shard.commit_to(random.randint(shard.commit, len(shard.log)))),
            (10, shard.apply),
            (10, self.carry_post),
            (8, self.tick),
            (0.7, shard.elect),
            (0.7, shard.link_lost),
        ]
        random.choices([m for _, m in moves], [w for w, _ in moves])[0]()

    def tick(self) -> None:
        self.now_ms += self.random.choice([1, 5, 20, 400])

    def heal(self, rounds_max: int = 600) -> None:
        self.faults = False
        for _ in range(rounds_max):
            self.now_ms += 50
            for consumer in self.consumers:
                while consumer.held:
                    consumer.answer("ack")
            for shard in self.shards.values():
                shard.home_speaks()
                shard.propose()
                shard.commit_to(len(shard.log))
                shard.apply()
                shard.leader_speaks()
                while shard.inbox:
                    shard.inbox.popleft()()
            while self.posted:
                self.carry_post()
            if self.at_rest:
                return
        raise AssertionError(f"not at rest after {rounds_max} rounds")

    @property
    def at_rest(self) -> bool:
        return (
            not self.posted
            and all(shard.leader is not None and not shard.leader.wants_entry for shard in self.shards.values())
            and all(shard.stream.quiet and not shard.inbox for shard in self.shards.values())
            and not any(
                queue.alive
                for shard in self.shards.values()
                for n, queue in shard.naive.queues.items()
                if n not in GRAVES.values() and n not in (PARKING, REJECTING)
            )
        )

    def check_end(self) -> None:
        for shard in self.shards.values():
            same_state(shard.state, shard.naive)
        full = self.shards[1].naive.queues.get(REJECTING)
        assert full is None or len(full.alive) <= 2, "more got in than there was room for"
        self.ledger.check_end(self.messages)


def run(seed: int, steps: int = 700) -> World:
    """One life of two shards. Raises AssertionError when a promise is broken."""
    world = World(seed)
    for shard in world.shards.values():
        shard.elect()
    for _ in range(steps):
        world.step()
    world.heal()
    world.check_end()
    return world


if __name__ == "__main__":
    main(run, MODULE)
