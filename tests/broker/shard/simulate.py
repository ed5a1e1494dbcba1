"""A whole shard in one process, driven by one seed: log, replicas, leaders, links, home nodes, and what goes wrong.

Law: one Random decides everything. The log is a list; a leader change may lose its uncommitted tail.

    python -m tests.broker.shard.simulate SEED [COUNT]
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgpack

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from cluster.broker.shard.messages import FromHome, RequestOp, ToHome
from tests.broker.shard.home import Home
from tests.broker.shard.link import Link
from tests.broker.shard.naive import same_state
from tests.broker.shard.oracle import Oracle, Place, places_of
from tests.broker.shard.replica import Replica
from tests.broker.shard.seeds import main

REPLICAS = (1, 2, 3)
HOMES = (1, 2, 3)
MODULE = "tests.broker.shard.simulate"
_ANNOUNCE = "leader"


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.oracle = Oracle()
        self.log: list[bytes | None] = []
        self.commit = 0
        self.replicas = {r: Replica() for r in REPLICAS}
        self.links = {(h, r): Link() for h in HOMES for r in REPLICAS}
        self.homes = {h: Home(h, 1, self.oracle, self.random) for h in HOMES}
        self.incarnation = 1
        self.queues = [QueueId(10 + i) for i in range(3)]
        self.deleted: list[QueueId] = []
        self.term = 0
        self.leading = 1
        self.leader: ShardLeader | None = None
        self.awaited: set[int] = set()
        self.attached: set[int] = set()
        self.gets: dict[tuple[int, int], int] = {}
        """(home, request) -> queue, of basic.get calls that the leader has heard."""
        self.faults = True

    # ---- log and leaders

    def elect(self) -> None:
        random = self.random
        del self.log[random.randrange(self.commit, len(self.log) + 1) :]
        self.log.append(None)
        self.term += 1
        self.leading = random.choice(REPLICAS)
        self.commit_up_to(len(self.log))
        self.leader = None
        self.apply(self.leading, self.commit)
        replica = self.replicas[self.leading]
        limits = LeaderLimits(
            payload_cache_bytes=random.choice([100, 1000, 10**6]), hot_backlog_max=random.choice([0, 2, 100])
        )
        self.leader = ShardLeader(replica.state, replica.stored.__getitem__, limits, self.deleted.__contains__)
        self.attached = set()
        self.awaited = {h for h in HOMES if self.links[(h, self.leading)].leader_up}
        for h in sorted(self.awaited):
            self.announce(h)
        self.attended(0)

    def announce(self, home: int) -> None:
        self.links[(home, self.leading)].tell_home(_ANNOUNCE, msgpack.packb(self.term), set())

    def attended(self, home: int) -> None:
        self.awaited.discard(home)
        if self.leader is not None and self.leader.attaching and not self.awaited:
            for h in HOMES:
                if h not in self.attached:
                    self.oracle.out_of_touch(h)
            self.leader.all_attached()

    def propose(self) -> None:
        leader = self.leader
        if leader is None or not leader.wants_entry:
            return
        data = leader.take_entry(len(self.log), self.random.choice([1, 300, 10**6]))
        assert data is not None
        if self.faults and self.random.random() < 0.1:
            leader.entry_refused()
            return
        leader.entry_accepted()
        self.log.append(data)

    def commit_up_to(self, commit: int) -> None:
        while self.commit < commit:
            self.commit += 1
            self.oracle.committed(self.commit, self.log[self.commit - 1])

    def apply(self, number: int, up_to: int) -> None:
        replica = self.replicas[number]
        while replica.state.applied_index < up_to:
            index = replica.state.applied_index + 1
            data = self.log[index - 1]
            if data is None:
                replica.state.skip(index)
                continue
            applied = replica.apply(index, data)
            if number == self.leading and self.leader is not None:
                self.leader.applied(applied, data)
                self.oracle.in_one_place(self.leader)

    def apply_some(self) -> None:
        number = self.random.choice((*REPLICAS, self.leading))
        applied = self.replicas[number].state.applied_index
        self.apply(number, self.random.randint(applied, self.commit))

    def compact(self) -> None:
        replica = self.replicas[self.random.choice(REPLICAS)]
        replica.compact(self.random.randint(0, replica.state.applied_index))

    def install(self) -> None:
        """A replica that lags gets the snapshot and the live entries of another."""
        number, target = self.random.sample(REPLICAS, 2)
        source = self.replicas[number]
        if target == self.leading or source.state.applied_index <= self.replicas[target].state.applied_index:
            return
        self.replicas[target] = source.copy()

    # ---- words

    def leader_speaks(self) -> None:
        leader = self.leader
        if leader is None:
            return
        out = leader.take_out()
        self.oracle.handed_out(leader, out, self.gets, self.in_flight)
        self.oracle.in_one_place(leader)
        for home, words in out.items():
            gets = {request: queue for (node, request), queue in self.gets.items() if node == home}
            data = msgpack.packb(words.to_wire(1, self.term))
            self.links[(home, self.leading)].tell_home("words", data, places_of(words, gets))
        if self.faults and self.random.random() < 0.1:
            self.announce(self.random.choice([h for h in HOMES if self.links[(h, self.leading)].leader_up] or HOMES))

    def in_flight(self, place: Place) -> bool:
        """Is a delivery of the message, or what a home node has to say about one, still on its way?"""
        queue, seq = place
        return any(home.stream.holds(QueueId(queue), seq) for home in self.homes.values()) or any(
            place in places for link in self.links.values() for _, _, places in link.to_home
        )

    def home_speaks(self, home: int) -> None:
        stream = self.homes[home].stream
        words = stream.take_out()
        if words is None:
            return
        self.links[(home, stream.leader)].tell_leader(msgpack.packb(words.to_wire(1, stream.term)))

    def home_hears(self, home: int, replica: int) -> None:
        link = self.links[(home, replica)]
        if not link.to_home:
            return
        kind, data, _ = link.to_home.popleft()
        stream = self.homes[home].stream
        if kind == _ANNOUNCE:
            stream.leader_is(replica, msgpack.unpackb(data))
        else:
            body = msgpack.unpackb(data)
            if body[1] == stream.term:
                stream.receive(ToHome.from_wire(body))
                self.homes[home].check_held()

    def leader_hears(self, home: int, replica: int) -> None:
        link = self.links[(home, replica)]
        if not link.to_leader:
            return
        body = msgpack.unpackb(link.to_leader.popleft())
        leader = self.leader
        if leader is None or replica != self.leading or body[1] != self.term:
            return
        words = FromHome.from_wire(body)
        if words.attach is not None:
            leader.attach(home, words.attach)
            self.attached.add(home)
            self.attended(home)
        for batch in words.batches:
            leader.receive_batch(batch)
        for queue, consumer, messages, size in words.credits:
            leader.credit(home, QueueId(queue), consumer, messages, size)
        for request, op, queue, args in words.requests:
            if op == RequestOp.GET:
                self.gets[(home, request)] = queue
            else:
                self.gets.pop((home, request), None)
            leader.request(home, request, RequestOp(op), QueueId(queue), args)
        self.oracle.in_one_place(leader)

    # ---- what goes wrong

    def notice(self, home: int, replica: int, *, at_home: bool) -> None:
        link = self.links[(home, replica)]
        if not link.broken:
            return
        if at_home and link.home_up:
            link.home_up = False
            self.homes[home].stream.leader_lost(replica)
        if not at_home and link.leader_up:
            link.leader_up = False
            if self.leader is not None and replica == self.leading:
                self.oracle.out_of_touch(home)
                self.attached.discard(home)
                self.leader.node_lost(home)
                self.attended(home)
                self.oracle.in_one_place(self.leader)

    def reconnect(self, home: int, replica: int) -> None:
        if self.links[(home, replica)].mend() and self.leader is not None and replica == self.leading:
            self.announce(home)

    def crash_home(self, home: int) -> None:
        self.oracle.crashed(home)
        self.incarnation += 1
        for r in REPLICAS:
            self.links[(home, r)].snap()
            self.links[(home, r)].home_up = False
        self.homes[home] = Home(home, self.incarnation, self.oracle, self.random)

    def drop_queue(self) -> None:
        queue = self.random.choice(self.queues)
        self.deleted.append(queue)
        self.queues[self.queues.index(queue)] = QueueId(10 + len(self.queues) + len(self.deleted))
        if self.leader is not None:
            self.leader.drop(queue)

    # ---- time

    def step(self) -> None:
        random = self.random
        home = random.choice(HOMES)
        replica = random.choice((*REPLICAS, self.leading, self.leading, self.leading))
        actor = self.homes[home]
        queue = random.choice(self.queues)
        moves: list[tuple[float, Callable[[], object]]] = [
            (8, lambda: actor.publish(sorted(random.sample(self.queues, random.choice([1, 1, 1, 2]))))),
            (10, actor.answer_some),
            (2, lambda: actor.consume(queue, exclusive=random.random() < 0.1)),
            (1, actor.cancel),
            (0.7, actor.close_channel),
            (1.5, lambda: actor.get(queue)),
            (0.3, lambda: actor.purge(queue)),
            (0.2, lambda: actor.publish([random.choice([queue, *self.deleted])])),
            (0.1, lambda: actor.consume(random.choice([queue, *self.deleted]))),
            (0.5, actor.forget),
            (1, actor.lose_patience),
            (14, lambda: self.home_speaks(home)),
            (14, lambda: self.home_hears(home, replica)),
            (14, lambda: self.leader_hears(home, replica)),
            (14, self.leader_speaks),
            (10, self.propose),
            (8, lambda: self.commit_up_to(random.randint(self.commit, len(self.log)))),
            (10, self.apply_some),
            (1, self.compact),
            (0.3, self.install),
            (0.25, self.elect),
            (0.5, self.links[(home, replica)].snap),
            (3, lambda: self.notice(home, replica, at_home=random.random() < 0.5)),
            (3, lambda: self.reconnect(home, replica)),
            (0.2, lambda: self.crash_home(home)),
            (0.2, self.drop_queue),
            (0.3, lambda: self.attended(random.choice(HOMES))),
        ]
        random.choices([m for _, m in moves], [w for w, _ in moves])[0]()

    def round(self) -> None:
        """Everybody does everything once, and nothing goes wrong."""
        for home in HOMES:
            for replica in REPLICAS:
                self.notice(home, replica, at_home=True)
                self.notice(home, replica, at_home=False)
                self.reconnect(home, replica)
            actor = self.homes[home]
            for queue in self.queues:
                joined = [c for c in actor.consumers if c.queue == queue and not c.left]
                if not joined:
                    actor.consume(queue)
            for consumer in actor.consumers:
                consumer.answer_all(ack=True)
            self.home_speaks(home)
            for replica in REPLICAS:
                while self.links[(home, replica)].to_leader:
                    self.leader_hears(home, replica)
        self.propose()
        self.commit_up_to(len(self.log))
        for replica in REPLICAS:
            self.apply(replica, self.commit)
        self.leader_speaks()
        for home in HOMES:
            for replica in REPLICAS:
                while self.links[(home, replica)].to_home:
                    self.home_hears(home, replica)

    @property
    def at_rest(self) -> bool:
        assert self.leader is not None
        return (
            not self.leader.wants_entry
            and not any(home.stream.busy or not home.stream.quiet for home in self.homes.values())
            and not any(link.to_home or link.to_leader for link in self.links.values())
            and not any(replica.state.live for replica in self.replicas.values())
        )

    def heal(self, rounds_max: int = 400) -> None:
        self.faults = False
        if self.leader is None:
            self.elect()
        for _ in range(rounds_max):
            self.round()
            if self.at_rest:
                return
        raise AssertionError(f"not at rest after {rounds_max} rounds: {self.describe()}")

    def describe(self) -> str:
        queues = self.replicas[self.leading].state.queues
        alive = {queue_id: queue.alive_parts(0, queue.next_seq) for queue_id, queue in queues.items()}
        return f"alive {alive}, live {self.replicas[self.leading].state.live}"

    def check_end(self) -> None:
        self.oracle.all_done()
        snapshots = {replica.state.snapshot() for replica in self.replicas.values()}
        assert len(snapshots) == 1, "replicas differ"
        for replica in self.replicas.values():
            same_state(replica.state, self.oracle.naive)
            replica.check_end(self.commit)
        assert self.leader is not None
        assert not [queue for queue in self.deleted if QueueId(queue) in self.replicas[1].state.queues]
        for home in self.homes.values():
            for publisher in home.publishers:
                assert not publisher.unanswered, "a publish was neither confirmed nor refused"
            for consumer in home.consumers:
                assert consumer.left or consumer.queue not in self.deleted, "a queue is gone and its consumer not told"
                if consumer.consumer in home.stream.consumers:
                    limit = self.leader.queues[consumer.queue].holders[(home.node, consumer.consumer)]
                    assert (limit.credit, limit.bytes_credit) == (consumer.credit, consumer.bytes_credit)


def run(seed: int, steps: int = 500) -> World:
    """One life of a shard. Raises AssertionError when a promise is broken."""
    world = World(seed)
    world.elect()
    for _ in range(steps):
        world.step()
    world.heal()
    world.check_end()
    return world


if __name__ == "__main__":
    main(run, MODULE)
