"""When a replica of a shard writes a snapshot of its index, and what is deleted with it."""

from __future__ import annotations

from cluster.broker.shard.entry import LeaderOps, QueueId, encode_entry
from cluster.broker.shard.leader import LeaderLimits
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.state import ShardState
from cluster.node.shards.host import OLD_DEAD_ENTRIES, SHORT_FACTOR, HostLimits, ShardHost
from cluster.raft.storage import GroupWrite
from cluster.raft.types import Configuration, Entry, EntryKind, GroupId, LogIndex, NodeId, SnapshotMeta, Term
from cluster.store.memory import MemoryStore
from tests.broker.shard.batches import Triples, make_batch

GROUP = GroupId(1)
QUEUE = QueueId(7)
LARGE = bytes(1 << 20)
MANY = 100_000
LIMITS = HostLimits()
TERM = Term(1)
CONFIGURATION = Configuration((NodeId(1),))


class Replica:
    """Of which nobody leads. It is its host's services, too: what is to be written is in the store at once."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.write([GroupWrite(GROUP, snapshot=(SnapshotMeta(LogIndex(0), Term(0), CONFIGURATION), b""))])
        self.written: list[tuple[int, int]] = []
        """(index, dead entries) of each snapshot."""
        self.rewritten: list[int] = []
        self.host = self._host()

    def _host(self) -> ShardHost:
        return ShardHost(GROUP, self.store.group(GROUP), self, LIMITS, LeaderLimits())  # type: ignore[arg-type]

    def restart(self) -> None:
        """The host is new, and has what the snapshot says and the log behind it."""
        storage = self.store.group(GROUP)
        self.host = self._host()
        meta = storage.snapshot_meta()
        if meta.index:
            self.host.restore(meta, storage.snapshot_index())
        last = storage.initial_state().last_index
        self.host.apply(storage.entries(LogIndex(meta.index + 1), LogIndex(last + 1), 1 << 30))

    def append(self, **columns: list[bytes] | Triples) -> None:
        index = LogIndex(self.host.state.applied_index + 1)
        data = encode_entry(0, [make_batch(self._number + 1, **columns)], LeaderOps())  # type: ignore[arg-type]
        entry = Entry(TERM, index, EntryKind.COMMAND, data)
        self.store.write([GroupWrite(GROUP, entries=[entry])])
        self.host.apply([entry])

    @property
    def _number(self) -> int:
        return self.host.state.sessions.get(1, (0, 0))[1]

    def publish(self, *records: bytes) -> None:
        self.append(records=list(records), runs=[(QUEUE, 0, len(records))])

    def publish_much(self) -> None:
        """Of which the index takes several ticks to write."""
        marks = [(slot, Mark.PRIORITY, 1) for slot in range(MANY)]
        self.append(records=[b"x" * 20] * MANY, runs=[(QUEUE, 0, MANY)], marks=marks)

    def settle(self, first: int, count: int) -> None:
        self.append(settles=[(QUEUE, first, count)])

    def rest(self, *, is_short: bool = False) -> None:
        """Time passes, and nothing happens."""
        for _ in range(2):
            self.host.tidy(is_short=is_short)

    def raft(self, group: GroupId) -> None:
        """Everything is in the store."""

    def write_snapshot(self, group: GroupId, index: LogIndex, data: bytes, dead: list[LogIndex]) -> None:
        self.written.append((index, len(dead)))
        self.store.write([GroupWrite(group, snapshot=(SnapshotMeta(index, TERM, CONFIGURATION), data))])
        self.store.write([GroupWrite(group, delete_entries=dead)])

    def rewrite(self, group: GroupId, entries: list[Entry]) -> None:
        self.rewritten += [entry.index for entry in entries]


def test_a_few_large_entries_that_died_after_a_rest_go_at_the_next() -> None:
    replica = Replica()
    for _ in range(3):
        replica.publish(LARGE)
    replica.rest()
    assert replica.written == [(3, 0)]
    replica.settle(0, 2)
    replica.rest()
    assert replica.written[1:] == [(4, 3)], "two large ones, and the settle itself"
    assert replica.store.used_bytes() < 2 * len(LARGE)


def test_a_few_large_entries_that_died_after_a_restart_go_as_well() -> None:
    replica = Replica()
    for _ in range(OLD_DEAD_ENTRIES):
        replica.publish(LARGE)
    replica.rest()
    replica.restart()
    replica.settle(0, OLD_DEAD_ENTRIES)
    replica.rest()
    assert replica.written[1:] == [(OLD_DEAD_ENTRIES + 1, OLD_DEAD_ENTRIES + 1)]
    assert replica.store.used_bytes() < len(LARGE)


def test_a_few_small_dead_entries_are_no_reason_for_a_snapshot() -> None:
    replica = Replica()
    for _ in range(OLD_DEAD_ENTRIES):
        replica.publish(b"small")
    replica.settle(0, OLD_DEAD_ENTRIES)
    replica.rest()
    assert replica.written == []


def test_where_the_disk_is_short_they_are() -> None:
    replica = Replica()
    replica.publish(b"small")
    replica.publish(b"small")
    replica.restart()
    replica.settle(0, 1)
    replica.rest()
    assert replica.written == []
    replica.rest(is_short=True)
    assert replica.written == [(3, 2)], "the settle as well"
    replica.rest(is_short=True)
    assert replica.written[1:] == []


def test_where_the_disk_is_short_a_busy_shard_makes_a_snapshot_as_soon_as_that_is_worth_it() -> None:
    replica = Replica()
    replica.rest(is_short=True)
    replica.publish(LARGE)
    assert replica.written == [(1, 0)]
    replica.rest()
    for _ in range(LIMITS.snapshot_bytes // len(LARGE) - 1):
        replica.publish(LARGE)
    assert replica.written[1:] == []


def test_where_the_disk_is_short_a_large_index_is_not_written_for_a_little_log() -> None:
    replica = Replica()
    replica.publish_much()
    replica.host.write_snapshot()
    while not replica.written:
        replica.host.tick(0)
    size = len(replica.store.group(GROUP).snapshot_index())
    replica.rest(is_short=True)
    passed = 0
    while passed + len(LARGE) < SHORT_FACTOR * size:
        replica.publish(LARGE)
        passed += len(LARGE)
    assert replica.written == [(1, 0)]
    for _ in range(2):
        replica.publish(LARGE)
    while len(replica.written) == 1:
        replica.host.tick(0)


def test_entries_of_which_a_third_died_are_rewritten_where_the_disk_is_short() -> None:
    replica = Replica()
    replica.publish(*[LARGE] * 3)
    replica.host.write_snapshot()
    replica.settle(0, 1)
    replica.rest()
    assert replica.rewritten == []
    replica.rest(is_short=True)
    assert replica.rewritten == [1]


def test_a_snapshot_of_much_is_written_bit_by_bit_and_says_what_was_true_when_it_was_begun() -> None:
    replica = Replica()
    replica.publish_much()
    replica.host.write_snapshot()
    then = replica.host.state.snapshot()
    replica.settle(0, MANY)
    replica.host.write_snapshot()
    assert replica.written == [], "one at a time, and the first is not complete"
    while not replica.written:
        replica.host.tick(0)
    assert replica.written == [(1, 0)], "what died since is not deleted with it"
    storage = replica.store.group(GROUP)
    assert storage.snapshot_index() == then
    now = replica.host.state.snapshot()
    replica.restart()
    assert replica.host.state.snapshot() == now
    replica.host.write_snapshot()
    assert replica.written[1:] == [(2, 2)]
    assert list(storage.payload_indexes()) == []


def test_a_snapshot_that_is_being_written_is_given_up_when_the_state_is_replaced() -> None:
    replica = Replica()
    replica.publish_much()
    replica.host.write_snapshot()
    other = ShardState()
    other.skip(9)
    replica.host.restore(SnapshotMeta(LogIndex(9), TERM, CONFIGURATION), other.snapshot())
    for _ in range(100):
        replica.host.tick(0)
    assert replica.written == []
