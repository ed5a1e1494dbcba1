"""The log's two halves, memory and storage, and a peer's progress."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest

from cluster.raft.log import RaftLog
from cluster.raft.progress import Progress, ProgressState
from cluster.raft.ready import RaftConfig
from cluster.raft.storage import Compacted, GroupWrite, Unavailable
from cluster.raft.types import Entry, EntryKind, GroupId, LogIndex, SnapshotMeta, Term
from tests.raft.disk import Disk, members
from tests.raft.ensemble import fill

GROUP = GroupId(0)


def a_log(terms: Sequence[int], tail_bytes: int = 1000, stored: Sequence[int] = ()) -> RaftLog:
    disk = Disk(members(1, 2, 3))
    if stored:
        fill(disk, stored)
    log = RaftLog(disk, disk.initial_state(), tail_bytes)
    for term in terms:
        log.append(Entry(Term(term), LogIndex(log.last_index + 1), EntryKind.COMMAND, b"x"))
    return log


@pytest.mark.parametrize("stored", [0, 3, 5])
def test_terms_are_the_same_wherever_the_entries_are(stored: int) -> None:
    terms = [1, 1, 2, 2, 5]
    log = a_log(terms[stored:], stored=terms[:stored])
    assert [log.term(LogIndex(index)) for index in range(6)] == [0, *terms]
    with pytest.raises(Unavailable):
        log.term(LogIndex(6))


@pytest.mark.parametrize(
    ("index", "term", "found"),
    [(5, 5, 5), (5, 4, 4), (9, 9, 5), (5, 2, 4), (5, 1, 2), (5, 0, 0), (1, 1, 1)],
)
@pytest.mark.parametrize("stored", [0, 3, 5])
def test_the_divergence_is_the_last_entry_of_at_most_a_term(index: int, term: int, found: int, stored: int) -> None:
    terms = [1, 1, 2, 2, 5]
    log = a_log(terms[stored:], stored=terms[:stored])
    assert log.divergence(LogIndex(index), Term(term)) == found


def test_below_the_snapshot_there_is_nothing_to_compare() -> None:
    disk = Disk(members(1))
    fill(disk, [1, 2, 2, 3])
    meta = SnapshotMeta(LogIndex(3), Term(2), members(1))
    disk.apply(GroupWrite(GROUP, snapshot=(meta, b"")))
    log = RaftLog(disk, disk.initial_state(), 0)
    assert log.divergence(LogIndex(4), Term(1)) == 3
    assert log.term(LogIndex(3)) == 2
    with pytest.raises(Compacted):
        log.term(LogIndex(2))
    with pytest.raises(Compacted):
        log.read(LogIndex(3), 100)
    assert not log.matches(LogIndex(2), Term(2))


def test_a_committed_entry_is_never_truncated() -> None:
    log = a_log([1, 1])
    log.commit_to(LogIndex(1))
    with pytest.raises(AssertionError, match="a committed entry would be truncated"):
        log.truncate_from(LogIndex(1))


def test_reading_gives_at_least_one_entry_and_then_as_many_as_fit() -> None:
    log = a_log([1] * 10)
    assert [entry.index for entry in log.read(LogIndex(4), 3)] == [4, 5, 6]
    assert [entry.index for entry in log.read(LogIndex(4), 0)] == [4]
    assert len(log.read(LogIndex(1), 1000)) == 10


def test_against_a_plain_list_every_operation_gives_the_same_log() -> None:
    """Random appends, truncations, writes, commits and restarts; the model is a list of terms."""
    seed = int(os.environ.get("RAFT_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"repeat with RAFT_SEED={seed}")
    source = random.Random(seed)
    for _ in range(30):
        disk = Disk(members(1))
        log = RaftLog(disk, disk.initial_state(), source.choice([0, 300, 5000]))
        model: list[int] = []
        durable: list[int] = []
        offered: GroupWrite | None = None
        term = 1
        for _ in range(200):
            match source.randrange(6):
                case 0 | 1:
                    for _ in range(source.randint(1, 3)):
                        log.append(Entry(Term(term), LogIndex(len(model) + 1), EntryKind.COMMAND, b"x"))
                        model.append(term)
                case 2 if len(model) > log.commit_index:
                    term += 1
                    keep = source.randint(log.commit_index, len(model) - 1)
                    log.truncate_from(LogIndex(keep + 1))
                    del model[keep:]
                case 3 if offered is None and log.has_unoffered():
                    truncate_from, entries = log.take_unoffered()
                    offered = GroupWrite(GROUP, truncate_from=truncate_from, entries=entries)
                case 4 if offered is not None:
                    disk.apply(offered)
                    offered = None
                    log.offered_is_durable()
                    durable = [entry.term for entry in disk.log]
                case 5 if log.stable_index > log.commit_index:
                    log.commit_to(LogIndex(source.randint(log.commit_index, log.stable_index)))
                    log.take_committed(source.choice([1, 100]))
                case _:
                    pass
            assert [log.term(LogIndex(index)) for index in range(1, len(model) + 1)] == model
            assert durable[: log.stable_index] == model[: log.stable_index]
            if model:
                first = source.randint(1, len(model))
                read = log.read(LogIndex(first), 1000)
                assert [entry.term for entry in read] == model[first - 1 : first - 1 + len(read)]


# -- progress


def test_progress_probes_with_one_append_and_replicates_after_its_answer() -> None:
    progress = Progress(RaftConfig(max_inflight_appends=2), LogIndex(5), 0)
    assert progress.may_append()
    progress.sent(LogIndex(5), 1)
    assert not progress.may_append()
    assert progress.accepted(LogIndex(5))
    assert (progress.state, progress.next_index) == (ProgressState.REPLICATE, 6)
    for index in (6, 7):
        assert progress.may_append()
        progress.sent(LogIndex(index), 1)
    assert not progress.may_append()
    assert progress.accepted(LogIndex(6))
    assert progress.may_append()


def test_a_refusal_that_is_older_than_an_acknowledgement_is_passed_over() -> None:
    progress = Progress(RaftConfig(), LogIndex(5), 0)
    progress.accepted(LogIndex(5))
    assert not progress.rejected(LogIndex(4), LogIndex(0))
    assert progress.state is ProgressState.REPLICATE


def test_a_refused_probe_goes_back_to_the_hint_and_never_below_what_is_known() -> None:
    progress = Progress(RaftConfig(), LogIndex(50), 0)
    assert not progress.rejected(LogIndex(30), LogIndex(3)), "not the answer to this probe"
    assert progress.rejected(LogIndex(49), LogIndex(20))
    assert progress.next_index == 21
    assert progress.rejected(LogIndex(20), LogIndex(20))
    assert progress.next_index == 20, "always at least one step"


def test_a_large_entry_is_given_the_time_to_arrive_before_it_is_sent_again() -> None:
    progress = Progress(RaftConfig(), LogIndex(5), 0)
    progress.accepted(LogIndex(5))
    progress.sent(LogIndex(6), 32 << 20)
    assert not any(progress.reported(LogIndex(5)) for _ in range(128))
    assert any(progress.reported(LogIndex(5)) for _ in range(5))
    progress.sent(LogIndex(6), 32 << 20)
    assert not any(progress.reported(LogIndex(5)) for _ in range(128)), "the probe is as large"


def test_an_append_that_did_not_leave_is_sent_again_after_a_few_reports_however_large_it_is() -> None:
    progress = Progress(RaftConfig(), LogIndex(5), 0)
    progress.accepted(LogIndex(5))
    progress.sent(LogIndex(6), 32 << 20)
    progress.dropped()
    assert not progress.may_append()
    assert any(progress.reported(LogIndex(5)) for _ in range(5))
    assert (progress.may_append(), progress.next_index) == (True, 6)


def test_one_silent_report_proves_nothing() -> None:
    progress = Progress(RaftConfig(), LogIndex(5), 0)
    progress.accepted(LogIndex(5))
    progress.sent(LogIndex(6), 1)
    assert [progress.reported(LogIndex(5)) for _ in range(4)] == [False, False, False, True]
    assert (progress.state, progress.next_index) == (ProgressState.PROBE, 6)
