"""Which writes go together, and in what order."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import outcome
import pytest

from cluster.raft.ready import Persist
from cluster.raft.runtime.interface import RuntimeConfig
from cluster.raft.runtime.write_rounds import HEAVY_BYTES, Pending, WriteRounds
from cluster.raft.runtime.writer import WriteOutcome
from cluster.raft.storage import GroupWrite, SnapshotChunk, StorageFull
from cluster.raft.types import NOBODY, Configuration, Entry, EntryKind, GroupId, HardState, LogIndex, SnapshotMeta, Term


class Rounds:
    """Write rounds whose writes end when a test says so. `wrote` has the groups of each."""

    def __init__(self) -> None:
        self.rounds = WriteRounds(RuntimeConfig())
        self.wrote: list[list[int]] = []

    def submit(self, writes: Sequence[GroupWrite], done: Callable[[WriteOutcome], None]) -> None:
        self.wrote.append([write.group for write in writes])

    def close(self) -> None:
        """Nothing is held."""

    def start(self, *offered: Pending, now: float = 0.0) -> None:
        self.rounds.start(list(offered), self, lambda ended: None, now)

    def end(self) -> list[int]:
        """The groups that are durable now."""
        finished = self.rounds.finish(WriteOutcome(0.0, outcome.Value(None)), 0.0)
        return [pending.persist.write.group for pending in finished.durable]


def pending(group: int, size: int) -> Pending:
    entry = Entry(Term(1), LogIndex(1), EntryKind.COMMAND, bytes(size))
    write = GroupWrite(GroupId(group), entries=[entry])
    return Pending(None, Persist(write, [], Term(1), NOBODY))  # type: ignore[arg-type]


def test_what_is_heavy_goes_alone_and_everything_else_in_between():
    rounds = Rounds()
    rounds.start(pending(1, HEAVY_BYTES), pending(2, 1), pending(3, HEAVY_BYTES), pending(4, 1))
    rounds.end()
    rounds.start(pending(2, 1))
    rounds.end()
    rounds.start()
    rounds.end()
    rounds.start(pending(5, 1))
    rounds.end()
    rounds.start()
    assert rounds.wrote == [[2, 4], [1], [2], [3], [5]]
    assert rounds.end() == [5]
    assert not rounds.rounds.is_due(0.0)


def test_a_heavy_write_waits_for_nothing_when_it_is_alone():
    rounds = Rounds()
    rounds.start(pending(1, HEAVY_BYTES))
    assert rounds.end() == [1]
    assert not rounds.rounds.holds(GroupId(1))


def test_a_full_disk_keeps_what_is_heavy_too():
    rounds = Rounds()
    rounds.start(pending(1, HEAVY_BYTES), pending(2, 1))
    full = WriteOutcome(0.0, outcome.Error(StorageFull("full")))
    rounds.rounds.finish(full, 0.0)
    rounds.start(now=0.01)
    assert not rounds.rounds.is_writing
    assert not rounds.rounds.is_due(0.01)
    assert rounds.rounds.holds(GroupId(1))
    rounds.start(now=10.0)
    assert sorted(rounds.end()) == [1, 2]


def test_what_a_full_disk_can_take_does_not_wait_for_what_it_cannot() -> None:
    rounds = Rounds()
    full = WriteOutcome(0.0, outcome.Error(StorageFull("full")))
    rounds.start(pending(1, 1000), pending(2, 10), pending(3, 2000))
    rounds.rounds.finish(full, 0.0)
    rounds.start()
    assert rounds.end() == [2]
    assert rounds.rounds.full_text, "the others are not written"
    rounds.start()
    rounds.rounds.finish(full, 0.0)
    assert rounds.wrote == [[1, 2, 3], [2], [1]], "what is larger than what was refused is not tried"
    rounds.start(pending(2, 20), pending(4, 1500), now=0.01)
    assert rounds.end() == [2]
    rounds.start(now=10.0)
    assert sorted(rounds.end()) == [1, 3, 4]
    assert not rounds.rounds.full_text
    assert not rounds.rounds.has_waiting


def test_a_write_of_megabytes_is_no_stall_until_it_has_had_time_for_them():
    rounds = Rounds()
    members = ["a member"]
    rounds.start(pending(1, 16 << 20))
    assert not rounds.rounds.stalled_members(members, 2.9)  # type: ignore[arg-type]
    assert rounds.rounds.stalled_members(members, 3.1) == members  # type: ignore[arg-type]
    rounds.end()
    rounds.start(pending(1, 1))
    assert rounds.rounds.stalled_members(members, 1.1) == members  # type: ignore[arg-type]


def test_a_disk_that_takes_long_for_little_rests_after_it() -> None:
    rounds = Rounds()
    rounds.start(pending(1, 1))
    rounds.rounds.finish(WriteOutcome(0.5, outcome.Value(None)), 1.0)
    assert rounds.rounds.rests(1.005)
    assert not rounds.rounds.rests(1.02)
    for seconds, size in ((0.1, 1), (0.5, HEAVY_BYTES)):
        rounds.start(pending(1, size), now=2.0)
        rounds.rounds.finish(WriteOutcome(seconds, outcome.Value(None)), 3.0)
        assert not rounds.rounds.rests(3.001)


def test_what_was_refused_has_no_room_until_it_is_written_also_while_it_is_tried_again() -> None:
    rounds = Rounds()
    full = WriteOutcome(0.0, outcome.Error(StorageFull("full")))
    refused, other = [replace(pending(size, size), member=object()) for size in (1000, 10)]  # type: ignore[arg-type]
    rounds.start(refused)
    rounds.rounds.finish(full, 0.0)
    rounds.start(other, now=0.01)
    assert rounds.rounds.has_no_room(refused.member)
    assert not rounds.rounds.has_no_room(other.member)
    rounds.end()
    rounds.start(now=10.0)
    assert rounds.rounds.has_no_room(refused.member)
    rounds.end()
    assert not rounds.rounds.has_no_room(refused.member)


SNAPSHOT, LATER = [SnapshotMeta(LogIndex(index), Term(1), Configuration(())) for index in (5, 9)]
CHUNK = SnapshotChunk(b"", bytes(100), b"next")


@pytest.mark.parametrize(
    ("write", "snapshot", "is_withdrawn"),
    [
        (pending(1, 10).persist.write, None, True),
        (pending(1, 10).persist.write, LATER, True),
        (GroupWrite(GroupId(1), HardState(Term(2), NOBODY, LogIndex(0))), None, False),
        (GroupWrite(GroupId(1), HardState(Term(2), NOBODY, LogIndex(0))), LATER, False),
        (GroupWrite(GroupId(1), stage_meta=SNAPSHOT, stage=[CHUNK]), SNAPSHOT, False),
        (GroupWrite(GroupId(1), stage_meta=SNAPSHOT, stage=[CHUNK]), LATER, True),
        (GroupWrite(GroupId(1), stage_meta=SNAPSHOT, stage=[CHUNK]), None, True),
    ],
)
def test_entries_and_parts_of_another_snapshot_are_withdrawn_and_nothing_else(
    write: GroupWrite, snapshot: SnapshotMeta | None, is_withdrawn: bool
) -> None:
    rounds = Rounds()
    refused = replace(pending(1, 1), member=object(), persist=Persist(write, [], Term(1), NOBODY))  # type: ignore[arg-type]
    rounds.start(refused)
    rounds.rounds.finish(WriteOutcome(0.0, outcome.Error(StorageFull("full"))), 0.0)
    assert rounds.rounds.withdraw(refused.member, snapshot) is is_withdrawn
    assert rounds.rounds.has_no_room(refused.member) is not is_withdrawn
    assert rounds.rounds.holds(GroupId(1)) is not is_withdrawn


def test_a_chunk_that_was_refused_keeps_larger_ones_of_entries_out_and_not_smaller_ones() -> None:
    rounds = Rounds()
    full = WriteOutcome(0.0, outcome.Error(StorageFull("full")))
    write = GroupWrite(GroupId(1), stage_meta=SNAPSHOT, stage=[CHUNK])
    rounds.start(replace(pending(1, 1), persist=Persist(write, [], Term(1), NOBODY)))
    rounds.rounds.finish(full, 0.0)
    rounds.start(pending(2, len(CHUNK.data)), pending(3, len(CHUNK.data) - 1), now=0.01)
    assert rounds.wrote == [[1], [3]]
