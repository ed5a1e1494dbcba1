"""Three shards and two home nodes with transactions over them, driven by one seed: all of each happens, or nothing.

Law: one Random decides everything. A shard is a log, of which an election may lose the uncommitted tail, and states
that are restored from snapshots or go on; what is dead is deleted. Homes crash and come back with a new incarnation,
links break with everything on them, words between leaders are lost, come late, and twice. Judged is what the committed
logs say, against what the clients asked for and were told.

    python -m tests.broker.shard.committing SEED [COUNT]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

import msgpack

from cluster.broker.shard.entry import EntryPayloads, QueueId
from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from cluster.broker.shard.messages import FromHome, RequestOp, ToHome
from cluster.broker.shard.settings import PLAIN, Overflow, QueueSettings
from cluster.broker.shard.state import Applied, ShardState
from cluster.broker.shard.surroundings import Nothing
from cluster.broker.shard.tx_ops import TxId, Word
from tests.broker.shard import seeds
from tests.broker.shard.grouped import Group
from tests.broker.shard.link import heard
from tests.broker.shard.transacting import SHARDS, Deed, Home, Place, shard_of

MODULE = "tests.broker.shard.committing"

HOMES = (1, 2)
FULL = QueueSettings("full", max_length=4, overflow=Overflow.REJECT)


class Catalog(Nothing):
    """Every third queue refuses publishes when it is full."""

    def settings(self, queue: QueueId) -> QueueSettings:
        return FULL if queue % 3 == 0 else PLAIN


class Shard(Group):
    """`state` is its leader's, `follower` another replica's."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world)
        self.world = world
        self.number = number
        self.deleted: set[int] = set()
        self.follower = ShardState()
        self.links: dict[int, deque[Callable[[], None]]] = {home: deque() for home in HOMES}

    def elect(self) -> None:
        random = self.world.random
        del self.log[random.randrange(self.commit, len(self.log) + 1) :]
        self.log.append(None)
        self.term += 1
        self.leader = None
        self.commit = len(self.log)
        self.apply()
        self.state_may_restart()
        limits = LeaderLimits(payload_cache_bytes=random.choice([50, 10**6]), hot_backlog_max=random.choice([0, 100]))
        self.leader = ShardLeader(
            self.state,
            self.load,
            limits,
            lambda queue: queue in self.world.deleted,
            Catalog(),
            shard=self.number,
            now_ms=self.world.now_ms,
        )
        for home in HOMES:
            self.break_link(home)
        if random.random() < 0.5:
            self.leader.all_attached()

    def load(self, index: int) -> bytes:
        data = self.log[index - 1]
        assert data is not None
        assert index not in self.deleted, f"shard {self.number}: entry {index} is deleted and needed"
        return data

    def break_link(self, home: int) -> None:
        """With everything on it; it comes back at once."""
        self.links[home].clear()
        stream = self.world.homes[home].streams[self.number]
        stream.leader_lost(1)
        if self.leader is not None:
            self.leader.node_lost(home)
            stream.leader_is(1, self.term)

    def happened(self, applied: Applied) -> None:
        self.world.happened(self, applied)

    def follow(self) -> None:
        """The other replica catches up, by a snapshot or entry by entry; what is dead in both is deleted."""
        if self.world.random.random() < 0.2:
            self.follower.restore(self.state.snapshot())
        while self.follower.applied_index < self.state.applied_index:
            index = self.follower.applied_index + 1
            data = self.log[index - 1]
            if data is None:
                self.follower.skip(index)
            else:
                self.follower.apply(index, data)
        assert self.follower.snapshot() == self.state.snapshot()
        assert self.follower.live == self.state.live
        self.deleted.update(self.state.take_dead(self.state.applied_index))

    def home_speaks(self, home: int) -> None:
        stream = self.world.homes[home].streams[self.number]
        words = stream.take_out()
        if words is not None:
            term = stream.term
            told = heard(words, self.number, term, is_at_home=self.world.random.random() < 0.5)
            self.links[home].append(lambda: self.leader_hears(home, term, told))

    def leader_hears(self, home: int, term: int, words: FromHome) -> None:
        leader = self.leader
        if leader is None or term != self.term:
            return
        if words.attach is not None:
            leader.attach(home, words.attach)
        for batch in words.batches:
            leader.receive_batch(batch)
        for queue, consumer, messages, size in words.credits:
            leader.credit(home, QueueId(queue), consumer, messages, size)
        for request, op, queue, args in words.requests:
            leader.request(home, request, RequestOp(op), QueueId(queue), args)

    def leader_speaks(self) -> None:
        leader = self.leader
        if leader is None:
            return
        leader.tick(self.world.now_ms)
        for home, words in leader.take_out().items():
            for _, queue, first, count, *_ in words.deliveries:
                state = self.state.queues[QueueId(queue)]
                free = state.free_parts(first, first + count)
                assert free == [(first, first + count)], f"queue {queue}: {first} is in an open transaction"
            data, term = msgpack.packb(words.to_wire(self.number, self.term)), self.term
            self.links[home].append(lambda h=home, t=term, d=data: self.home_hears(h, t, d))  # type: ignore[misc]
        for target, word, tx in leader.take_words():
            self.world.words.append((target, self.number, word, tx))

    def home_hears(self, home: int, term: int, data: bytes) -> None:
        stream = self.world.homes[home].streams[self.number]
        if term == stream.term:
            stream.receive(ToHome.from_wire(msgpack.unpackb(data)))


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.faults = True
        self.now_ms = 0
        self.queues = [QueueId(1000 * shard + i) for shard in SHARDS for i in (1, 2)]
        self.deleted: set[int] = set()
        self.deeds: list[Deed] = []
        self.acked: set[Place] = set()
        """Without a transaction."""
        self.enqueued: dict[tuple[int, bytes], int] = {}
        self.words: list[tuple[int, int, Word, TxId]] = []
        self.homes = {node: Home(self, node, 1) for node in HOMES}
        self.shards = {number: Shard(self, number) for number in SHARDS}

    def happened(self, shard: Shard, applied: Applied) -> None:
        for queue_id, first, end in applied.enqueued:
            queue = shard.state.queues.get(queue_id)
            if queue is None or queue.head > first:
                continue
            for _, count, index, slot in queue.places(first, end):
                payloads = EntryPayloads(shard.load(index))
                for i in range(count):
                    key = (int(queue_id), payloads.record(slot + i))
                    self.enqueued[key] = self.enqueued.get(key, 0) + 1

    def is_gone(self, place: Place) -> bool:
        queue = self.shards[shard_of(place[0])].state.queues.get(QueueId(place[0]))
        return queue is None or not queue.alive_parts(place[1], place[1] + 1)

    # ---- what goes wrong

    def crash(self, node: int) -> None:
        old = self.homes[node]
        old.dead = True
        self.homes[node] = Home(self, node, old.incarnation + 1)
        for shard in self.shards.values():
            shard.links[node].clear()
            if shard.leader is not None:
                shard.leader.node_lost(node)
        if self.random.random() < 0.7:
            self.greet(node)

    def greet(self, node: int) -> None:
        """Leaders tell a home that they lead."""
        for shard in self.shards.values():
            if shard.leader is not None:
                self.homes[node].streams[shard.number].leader_is(1, shard.term)

    def drop_queue(self) -> None:
        queue = self.random.choice(self.queues)
        self.deleted.add(queue)
        self.queues[self.queues.index(queue)] = QueueId(queue + 2)
        leader = self.shards[shard_of(queue)].leader
        if leader is not None:
            leader.drop(queue)

    def carry_word(self) -> None:
        if not self.words:
            return
        i = self.random.randrange(len(self.words))
        word = self.words[i] if self.faults and self.random.random() < 0.3 else self.words.pop(i)
        target, source, what, tx = word
        leader = self.shards[target].leader
        if leader is not None and not (self.faults and self.random.random() < 0.2):
            leader.hear(source, what, tx)

    def carry(self, shard: Shard, home: int) -> None:
        if shard.links[home]:
            shard.links[home].popleft()()

    # ---- time

    def pass_time(self) -> None:
        self.now_ms += self.random.choice([10, 100, 100, 1000])

    def step(self) -> None:
        random = self.random
        node = random.choice(HOMES)
        home, shard = self.homes[node], self.shards[random.choice(SHARDS)]
        moves: list[tuple[float, Callable[[], object]]] = [
            (6, home.transact),
            (2, home.publish),
            (2, home.answer),
            (2, lambda: home.consume(random.choice(self.queues))),
            (0.3, home.lose_patience),
            (14, lambda: shard.home_speaks(node)),
            (40, lambda: self.carry(shard, node)),
            (14, shard.leader_speaks),
            (12, shard.propose),
            (10, lambda: setattr(shard, "commit", random.randint(shard.commit, len(shard.log)))),
            (12, shard.apply),
            (2, shard.follow),
            (6, self.carry_word),
            (3, self.pass_time),
            (0.4, shard.elect),
            (0.4, lambda: shard.break_link(node)),
            (0.4, lambda: self.crash(node)),
            (0.1, self.drop_queue),
            (0.5, lambda: self.greet(node)),
            (0.5, lambda: shard.leader.all_attached() if shard.leader and shard.leader.attaching else None),
        ]
        random.choices([move for _, move in moves], [weight for weight, _ in moves])[0]()

    def round(self) -> None:
        """Everybody does everything once, and nothing goes wrong."""
        self.now_ms += 50
        for shard in self.shards.values():
            if shard.leader is None:
                shard.elect()
            assert shard.leader is not None
            if shard.leader.attaching:
                shard.leader.all_attached()
            for node in HOMES:
                self.greet(node)
                shard.home_speaks(node)
                while shard.links[node]:
                    self.carry(shard, node)
            shard.propose()
            shard.commit = len(shard.log)
            shard.apply()
            shard.leader_speaks()
        while self.words:
            self.carry_word()

    @property
    def is_over(self) -> bool:
        return (
            not any(shard.state.transactions or shard.log[shard.commit :] for shard in self.shards.values())
            and not any(home.open for home in self.homes.values())
            and not any(shard.leader is not None and shard.leader.wants_entry for shard in self.shards.values())
        )

    def heal(self) -> None:
        self.faults = False
        for _ in range(1000):
            self.round()
            if self.is_over:
                return
        raise AssertionError(
            f"transactions do not end: {[s.state.transactions.to_wire() for s in self.shards.values()]}"
        )

    def judge(self) -> None:
        """All of each transaction, or nothing."""
        done: set[Place] = set(self.acked)
        for deed in self.deeds:
            there = [self.enqueued.get(key, 0) for key in deed.publishes if key[0] not in self.deleted]
            assert there in ([0] * len(there), [1] * len(there)), f"{deed.name} happened in part: {there}"
            if there and deed.told is not None:
                assert bool(there[0]) is deed.told, f"{deed.name}: the client was told {deed.told}"
            gone = [self.is_gone(place) for place in deed.acks if place[0] not in self.deleted]
            committed = bool(there[0]) if there else deed.told or (deed.told is None and all(gone))
            if committed:
                assert all(gone), f"{deed.name} is done and what it acked is there"
                done.update(deed.acks)
        for deed in self.deeds:
            for place in deed.acks:
                if place[0] not in self.deleted and self.is_gone(place):
                    assert place in done, f"{place} is gone and its transaction {deed.name} did not happen"
        for shard in self.shards.values():
            shard.follow()
            assert shard.leader is not None
            for queue in shard.leader.queues.values():
                assert not queue.state.locked
                placed = queue.ready.count + queue.purging.count + queue.dying.count + queue.unacked.count
                assert placed == queue.state.alive, f"queue {queue.id}"
                absent = [part for part in queue.unacked if part[2].state.name != "PRESENT"]
                assert not absent, f"queue {queue.id}: {absent} are with nobody"


def run(seed: int, steps: int = 1500) -> World:
    """One history. Raises AssertionError for a broken promise."""
    world = World(seed)
    for shard in world.shards.values():
        shard.elect()
    for _ in range(steps):
        world.step()
    world.heal()
    world.judge()
    return world


def main() -> None:
    tally: dict[object, int] = {}

    def count(seed: int) -> None:
        world = run(seed)
        for deed in world.deeds:
            there = [world.enqueued.get(key, 0) for key in deed.publishes if key[0] not in world.deleted]
            key = (
                deed.told,
                deed.commit.refusal,
                bool(there and there[0]),
                len({shard_of(q) for q, _ in deed.publishes}),
            )
            tally[key] = tally.get(key, 0) + 1

    seeds.main(count, MODULE)
    for key, number in sorted(tally.items(), key=str):
        print("told, refusal, happened, shards published to:", key, number)


if __name__ == "__main__":
    main()
