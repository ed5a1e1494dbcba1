"""Transactions over several shards, under a random life (committing.py), word by word, and what a snapshot keeps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.broker.shard.arbiter import AGAIN_MS, PATIENCE_MS, WIDOWED_PATIENCE_MS
from cluster.broker.shard.columns import EntryCorrupt, pack_numbers
from cluster.broker.shard.commit import Commit, Stage
from cluster.broker.shard.entry import NO_OPS, Batch, LeaderOps, QueueId, encode_entry
from cluster.broker.shard.leader import ShardLeader
from cluster.broker.shard.part import Part
from cluster.broker.shard.state import ShardState
from cluster.broker.shard.stream import ShardStream
from cluster.broker.shard.transactions import PREPARED_MAX
from cluster.broker.shard.tx_ops import Refusal, TxId, TxOp, Word
from tests.broker.shard.batches import make_batch
from tests.broker.shard.committing import MODULE, run
from tests.broker.shard.seeds import run_each

QUEUE = QueueId(7)
TX = TxId(1, 1, 5)
SEEDS_A_CHUNK = 12


@pytest.mark.parametrize("chunk", range(8))
def test_all_of_a_transaction_happens_or_nothing_whatever_breaks(chunk: int) -> None:
    run_each(run, 200_000 + chunk * SEEDS_A_CHUNK, SEEDS_A_CHUNK, MODULE)


def test_one_seed_gives_one_history() -> None:
    first, second = run(3), run(3)
    assert [shard.log for shard in first.shards.values()] == [shard.log for shard in second.shards.values()]


# ---- what a shard's state does


def _state() -> ShardState:
    """With messages 0 to 2 in the queue."""
    state = ShardState()
    _apply(state, make_batch(1, records=[b"a", b"b", b"c"], runs=[(QUEUE, 0, 3)]))
    return state


def _apply(state: ShardState, *batches: Batch, ops: LeaderOps = NO_OPS) -> None:
    state.apply(state.applied_index + 1, encode_entry(1, list(batches), ops))


def _part(number: int, op: TxOp, *, tx: int = TX.number, shard: int = 3, refused: bytes = b"") -> Batch:
    """Publishes d, and acks message 1."""
    batch = make_batch(number, records=[b"d"], runs=[(QUEUE, 0, 1)], settles=[(QUEUE, 1, 1)])
    batch.transactions = pack_numbers([op, tx, shard])
    batch.refused = refused
    return batch


def _verdict(op: TxOp, tx: TxId = TX) -> LeaderOps:
    return LeaderOps(verdicts=pack_numbers([op, *tx]))


def _alive(state: ShardState) -> list[int]:
    queue = state.queues[QUEUE]
    return [seq for a, b in queue.alive_parts(0, queue.next_seq) for seq in range(a, b)]


def test_a_prepared_part_shows_nothing_and_lets_nobody_give_back_what_it_answers() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE))
    assert _alive(state) == [0, 1, 2]
    assert state.live[2] == 1, "its record is needed"
    _apply(state, ops=LeaderOps(returns=pack_numbers([QUEUE, 0, 3])))
    assert state.queues[QUEUE].returned == {0: 1, 2: 1}
    _apply(state, make_batch(3, rejects=[(QUEUE, 1, 1)]))
    assert not state.queues[QUEUE].limbo


@pytest.mark.parametrize("by_leader", [False, True])
def test_a_commit_does_what_was_prepared_once(by_leader: bool) -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE))
    for number in (3, 4):
        commit = make_batch(number)
        commit.transactions = pack_numbers([TxOp.COMMIT, TX.number, 0])
        if by_leader:
            _apply(state, ops=_verdict(TxOp.COMMIT))
        else:
            _apply(state, commit)
        assert _alive(state) == [0, 2, 3]
        assert list(state.queues[QUEUE].places(3, 4)) == [(3, 1, 2, 0)], "where it was prepared"
    assert not state.transactions
    assert not state.queues[QUEUE].locked


def test_an_abort_forgets_it_and_its_entry_dies() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE))
    _apply(state, ops=_verdict(TxOp.ABORT))
    assert _alive(state) == [0, 1, 2]
    assert 2 not in state.live
    assert 2 in state.take_dead(9)


def test_what_is_fenced_is_never_decided_and_what_is_decided_is_never_fenced() -> None:
    state = _state()
    _apply(state, ops=_verdict(TxOp.FENCE))
    _apply(state, _part(2, TxOp.DECIDE))
    assert _alive(state) == [0, 1, 2]
    assert state.refusals[1] == ((2, pack_numbers([Refusal.LATE])),)
    _apply(state, _part(3, TxOp.DECIDE, tx=TX.number + 1))
    assert _alive(state) == [0, 2, 3]
    later = TxId(1, 1, TX.number + 1)
    _apply(state, ops=_verdict(TxOp.FENCE, later))
    assert state.transactions.decisions == {later: (3,)}
    assert not state.transactions.is_fenced(later)


def test_a_fence_does_not_hold_for_the_next_life_of_a_home_node() -> None:
    state = _state()
    _apply(state, ops=_verdict(TxOp.FENCE, TxId(1, 1, 100)))
    batch = _part(1, TxOp.DECIDE, tx=1)
    batch.incarnation = 2
    _apply(state, batch)
    assert state.transactions.decisions == {TxId(1, 2, 1): (3,)}


def test_a_part_that_the_leader_refused_changes_nothing() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.DECIDE, refused=pack_numbers([Refusal.FULL])))
    assert _alive(state) == [0, 1, 2]
    assert not state.transactions


def test_two_transactions_do_not_answer_one_delivery() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE))
    _apply(state, _part(3, TxOp.PREPARE, tx=6))
    assert list(state.transactions.prepared) == [TX]
    assert state.refusals[1] == ((3, pack_numbers([Refusal.TAKEN])),)


def test_too_many_open_transactions_are_refused() -> None:
    state = _state()
    for i in range(PREPARED_MAX + 1):
        batch = make_batch(2 + i, records=[b"d"], runs=[(QUEUE, 0, 1)])
        batch.transactions = pack_numbers([TxOp.PREPARE, 5 + i, 3])
        _apply(state, batch)
    assert len(state.transactions.prepared) == PREPARED_MAX
    assert state.refusals[1][-1] == (PREPARED_MAX + 2, pack_numbers([Refusal.BUSY]))


def test_a_snapshot_keeps_what_is_open() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE), _part(3, TxOp.DECIDE, tx=9))
    _apply(state, ops=_verdict(TxOp.FENCE, TxId(2, 4, 8)))
    copy = ShardState()
    copy.restore(state.snapshot())
    assert copy.snapshot() == state.snapshot()
    assert copy.live == state.live
    for replica in (state, copy):
        _apply(replica, ops=_verdict(TxOp.COMMIT))
    assert copy.snapshot() == state.snapshot()


@pytest.mark.parametrize(
    "rows",
    [
        [TxOp.PREPARE, 5, 3, TxOp.PREPARE, 6, 3],
        [TxOp.PREPARE, 5, 0],
        [TxOp.DECIDE, 5, 3, TxOp.DECIDE, 6, 3],
        [TxOp.COMMIT, 5, 0, TxOp.DECIDE, 5, 3],
        [TxOp.FENCE, 5, 0],
        [77, 5, 0],
    ],
)
def test_what_no_home_node_says_of_transactions_does_not_get_into_the_log(rows: list[int]) -> None:
    batch = make_batch(1)
    batch.transactions = pack_numbers(rows)
    with pytest.raises(EntryCorrupt):
        Batch.from_wire(batch.to_wire())


# ---- leaders that seek the end


def _leader(state: ShardState, shard: int) -> ShardLeader:
    leader = ShardLeader(state, lambda index: b"", shard=shard)
    leader.all_attached()
    return leader


def _carry_out(leader: ShardLeader, state: ShardState) -> None:
    """What it has for the log."""
    while (data := leader.take_entry(1, 10**6)) is not None:
        leader.entry_accepted()
        leader.applied(state.apply(state.applied_index + 1, data), data)


def test_a_participant_asks_when_its_patience_is_over_and_asks_again() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE))
    leader = _leader(state, 4)
    leader.attach(1, [])
    asked = (3, Word.ASK, TX)
    leader.tick(1000)
    assert leader.take_words() == []
    leader.tick(1000 + WIDOWED_PATIENCE_MS)
    assert leader.take_words() == [], "its home node is there"
    leader.tick(1000 + PATIENCE_MS)
    assert leader.take_words() == [asked]
    leader.tick(1000 + PATIENCE_MS + AGAIN_MS - 1)
    assert leader.take_words() == []
    leader.tick(1000 + PATIENCE_MS + AGAIN_MS + 200)
    assert leader.take_words() == [asked]


def test_it_asks_sooner_when_the_home_node_is_out_of_touch_and_at_once_when_it_has_a_new_life() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE))
    leader = _leader(state, 4)
    leader.tick(1000)
    leader.take_words()
    leader.tick(1000 + WIDOWED_PATIENCE_MS)
    assert leader.take_words() == [(3, Word.ASK, TX)]
    _apply(state, make_batch(1, incarnation=2))
    leader = _leader(state, 4)
    leader.attach(1, [])
    leader.tick(1000)
    assert leader.take_words() == [(3, Word.ASK, TX)]


def test_a_coordinator_answers_when_the_log_has_the_fence() -> None:
    state = _state()
    leader = _leader(state, 3)
    leader.hear(4, Word.ASK, TX)
    assert leader.take_words() == []
    _carry_out(leader, state)
    assert leader.take_words() == [(4, Word.ABORTED, TX)]
    assert state.transactions.is_fenced(TX)


def test_a_coordinator_tells_until_all_have_done_it_and_then_forgets() -> None:
    state = _state()
    decided = _part(2, TxOp.DECIDE)
    decided.transactions = pack_numbers([TxOp.DECIDE, TX.number, 4, TxOp.DECIDE, TX.number, 6])
    _apply(state, decided)
    leader = _leader(state, 3)
    leader.tick(1000)
    leader.take_words()
    leader.tick(3000)
    assert leader.take_words() == [(4, Word.COMMITTED, TX), (6, Word.COMMITTED, TX)]
    leader.hear(4, Word.DONE, TX)
    leader.tick(4000)
    assert leader.take_words() == [(6, Word.COMMITTED, TX)]
    leader.hear(6, Word.DONE, TX)
    _carry_out(leader, state)
    assert not state.transactions


def test_a_participant_says_that_it_is_done_when_its_log_says_so() -> None:
    state = _state()
    _apply(state, _part(2, TxOp.PREPARE))
    leader = _leader(state, 4)
    leader.hear(3, Word.COMMITTED, TX)
    assert leader.take_words() == []
    _carry_out(leader, state)
    assert leader.take_words() == [(3, Word.DONE, TX)]
    assert _alive(state) == [0, 2, 3]


# ---- the home node


class Told:
    """A `CommitSink`."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)


def _commit(told: Told, *shards: int, settles: Sequence[int] = ()) -> tuple[Commit, dict[int, ShardStream]]:
    streams = {shard: ShardStream(shard=shard, node=1, incarnation=1) for shard in shards}
    parts = {}
    for stream in streams.values():
        stream.leader_is(2, 1)
        stream.take_out()
        parts[stream] = part = Part()
        part.publishes.append(([QUEUE], [b"d"], [1], 1, ()))
        part.settles += settles
    commit = Commit(5, parts, told, lambda stream: None)
    commit.start()
    return commit, streams


def _said(stream: ShardStream) -> list[int]:
    """The transaction's rows in the next batch; none if there is none."""
    words = stream.take_out()
    if words is None:
        return []
    (batch,) = words.batches
    return [int.from_bytes(batch.transactions[i : i + 8], "little") for i in range(0, len(batch.transactions), 8)]


def test_nothing_is_decided_before_all_others_have_prepared() -> None:
    told = Told()
    commit, streams = _commit(told, 4, 3, 6)
    assert _said(streams[3]) == []
    assert _said(streams[4]) == _said(streams[6]) == [TxOp.PREPARE, 5, 3]
    commit.told(None)
    assert _said(streams[3]) == []
    commit.told(None)
    assert _said(streams[3]) == [TxOp.DECIDE, 5, 4, TxOp.DECIDE, 5, 6]
    assert not commit.give_up()
    commit.told(None)
    assert _said(streams[4]) == _said(streams[6]) == [TxOp.COMMIT, 5, 0]
    commit.told(None)
    commit.told(None)
    assert _said(streams[3]) == [TxOp.FORGET, 5, 0]
    assert told.stages == [Stage.DECIDING, Stage.CONCLUDING, Stage.DONE]


def test_what_one_refuses_is_called_off_everywhere() -> None:
    told = Told()
    commit, streams = _commit(told, 3, 4, 6)
    _said(streams[4]), _said(streams[6])
    commit.told(Refusal.FULL)
    assert _said(streams[4]) == _said(streams[6]) == [TxOp.ABORT, 5, 0]
    commit.told(None)
    assert _said(streams[3]) == []
    assert (told.stages, commit.refusal) == ([Stage.FAILED], Refusal.FULL)


@pytest.mark.parametrize("again", [(QUEUE, 5, 1), (QUEUE, 3, 3)])
def test_a_message_that_is_answered_twice_came_again_and_nothing_is_done(again: tuple[int, ...]) -> None:
    told = Told()
    commit, streams = _commit(told, 3, 4, settles=[QUEUE, 5, 1, *again])
    assert _said(streams[3]) == _said(streams[4]) == []
    assert (told.stages, commit.refusal) == ([Stage.FAILED], Refusal.TAKEN)


def test_messages_of_several_queues_are_answered_once_each() -> None:
    told = Told()
    _, streams = _commit(told, 3, 4, settles=[QUEUE, 5, 1, QUEUE, 6, 2, QUEUE + 1, 5, 1, QUEUE, 1, 4])
    assert _said(streams[4]) == [TxOp.PREPARE, 5, 3]
    assert told.stages == []
