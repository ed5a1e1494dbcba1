"""The replicated state against its plain model, and what a snapshot of it keeps."""

import time
from random import Random

import msgpack
import pytest
from hypothesis import given, settings

from cluster.broker.shard.columns import EntryCorrupt
from cluster.broker.shard.entry import LeaderOps, QueueId, encode_entry
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.snapshot import PIECE_BYTES, Draft
from cluster.broker.shard.state import ShardState
from tests.broker.shard.batches import column, histories, make_batch
from tests.broker.shard.naive import NaiveState, flat, same_state

QUEUE = QueueId(7)


def enqueue(state: ShardState, index: int, count: int, *, number: int | None = None) -> None:
    batch = make_batch(number or index, records=[b"x"] * count, runs=[(QUEUE, 0, count)])
    state.apply(index, encode_entry(0, [batch], LeaderOps()))


def touch(state: ShardState, index: int, *, settles: bool, first: int, count: int) -> None:
    rows: list[tuple[int, int, int]] = [(QUEUE, first, count)]
    batch = make_batch(index, settles=rows) if settles else make_batch(index, returns=rows)
    state.apply(index, encode_entry(0, [batch], LeaderOps()))


def test_what_takes_turns_between_queues_and_is_marked_costs_no_more_the_more_there_is() -> None:
    count = 20_000
    state = ShardState()
    runs = [(QUEUE + n % 2, n, 1) for n in range(count)]
    marks = [(n, int(Mark.EXPIRATION), n) for n in range(count)]
    batch = make_batch(1, records=[b"x"] * count, runs=runs, marks=marks)
    began = time.process_time()
    state.apply(1, encode_entry(0, [batch], LeaderOps()))
    back = [(QUEUE, seq, 1) for seq in range(0, count // 2, 2)]
    state.apply(2, encode_entry(0, [make_batch(2, returns=back)], LeaderOps()))
    assert time.process_time() - began < 5, "each with each would be minutes"
    assert [state.queues[QueueId(QUEUE + 1)].value(seq, Mark.EXPIRATION) for seq in (0, 9999)] == [1, 19_999]


@settings(max_examples=400)
@given(histories())
def test_the_state_is_what_its_plain_model_says(entries: list[bytes]) -> None:
    real, naive = ShardState(), NaiveState()
    dead: list[int] = []
    for index, data in enumerate(entries, 1):
        applied = real.apply(index, data)
        change = naive.apply(index, data)
        enqueued = [(q, seq) for q, first, end in applied.enqueued for seq in range(first, end)]
        settled = [(q, seq) for q, parts in applied.settled for seq in flat(parts)]
        assert enqueued == [(q, seq) for q, seq, _ in change.enqueued]
        assert settled == [(q, seq) for q, seq, _ in change.settled]
        assert applied.dropped == change.dropped
        same_state(real, naive)
        dead += real.take_dead(index)
        assert sorted(dead + list(real.live)) == list(range(1, index + 1)), "an entry is live or dead"


@settings(max_examples=200)
@given(histories())
def test_a_restored_state_is_the_same_and_goes_on_the_same(entries: list[bytes]) -> None:
    whole = ShardState()
    copies: list[ShardState] = []
    for index, data in enumerate(entries, 1):
        for state in (whole, *copies):
            state.apply(index, data)
        copy = ShardState()
        copy.restore(whole.snapshot())
        assert copy.live == whole.live
        copies.append(copy)
    assert {copy.snapshot() for copy in copies} == {whole.snapshot()}


@settings(max_examples=100)
@given(histories())
def test_a_draft_says_what_was_true_when_it_was_made_and_as_msgpack_writes_it(entries: list[bytes]) -> None:
    state = ShardState()
    drafts: list[tuple[Draft, bytes]] = []
    for index, data in enumerate(entries, 1):
        state.apply(index, data)
        drafts.append((state.draft(), state.snapshot()))
    for draft, snapshot in drafts:
        assert b"".join(draft.pieces()) == snapshot
        assert msgpack.packb(msgpack.unpackb(snapshot)) == snapshot


def test_a_draft_of_a_deep_queue_with_much_to_each_message_comes_in_pieces() -> None:
    state = ShardState()
    enqueue(state, 1, 50_000)
    queue = state.queues[QUEUE]
    for seq in range(0, 50_000, 2):
        queue.give_back(seq, seq + 1)
    for seq in range(50_000):
        queue.mark(seq, Mark.PRIORITY, seq % 9 + 1, 0)
        queue.mark(seq, Mark.EXPIRATION, 1000, 0)
    draft, snapshot = state.draft(), state.snapshot()
    pieces = draft.pieces()
    first = next(pieces)
    touch(state, 2, settles=True, first=0, count=30_000)
    rest = list(pieces)
    assert first + b"".join(rest) == snapshot
    assert len(rest) > 10
    assert max(map(len, [first, *rest])) < 2 * PIECE_BYTES
    copy = ShardState()
    copy.restore(snapshot)
    touch(copy, 2, settles=True, first=0, count=30_000)
    assert copy.snapshot() == state.snapshot()


def test_a_queue_from_which_all_is_gone_keeps_nothing_of_its_messages() -> None:
    state = ShardState()
    enqueue(state, 1, 10_000)
    queue = state.queues[QUEUE]
    queue.give_back(0, 10_000)
    for seq in range(10_000):
        queue.mark(seq, Mark.PRIORITY, 1, 0)
    touch(state, 2, settles=True, first=1, count=9999)
    assert (dict(queue.returned), dict(queue.marks[Mark.PRIORITY])) == ({0: 1}, {0: 1})
    touch(state, 3, settles=True, first=0, count=1)
    assert (len(queue.returned), queue.marks) == (0, {})


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_snapshot_is_corrupt_or_read_and_changes_nothing_when_corrupt(seed: int) -> None:
    random = Random(seed)
    state = ShardState()
    enqueue(state, 1, 9)
    touch(state, 2, settles=True, first=3, count=2)
    touch(state, 3, settles=False, first=0, count=2)
    data = state.snapshot()
    for _ in range(100):
        damaged = bytearray(data)
        damaged[random.randrange(len(data))] = random.randrange(256)
        other = ShardState()
        try:
            other.restore(bytes(damaged[: random.choice([len(data), random.randrange(len(data))])]))
        except EntryCorrupt:
            assert other.snapshot() == ShardState().snapshot(), f"seed {seed}"


def test_a_snapshot_of_another_version_is_corrupt() -> None:
    state = ShardState()
    data = bytearray(state.snapshot())
    data[1] = 9
    with pytest.raises(EntryCorrupt, match="shard snapshot has version 9, this node reads up to 3"):
        state.restore(bytes(data))


def test_a_batch_takes_effect_once() -> None:
    state = ShardState()
    enqueue(state, 1, 2, number=1)
    enqueue(state, 2, 2, number=1)
    assert state.queues[QUEUE].alive == 2
    assert state.take_dead(2) == [2]


def test_a_batch_out_of_turn_is_refused() -> None:
    state = ShardState()
    enqueue(state, 1, 2, number=3)
    assert state.queues == {}
    assert state.sessions == {}


def test_a_batch_of_an_earlier_incarnation_is_refused() -> None:
    state = ShardState()
    later = make_batch(1, incarnation=2, records=[b"a"], runs=[(QUEUE, 0, 1)])
    earlier = make_batch(1, incarnation=1, records=[b"b"], runs=[(QUEUE, 0, 1)])
    state.apply(1, encode_entry(0, [later, earlier], LeaderOps()))
    assert state.queues[QUEUE].alive == 1
    assert state.sessions == {1: (2, 1)}


def test_an_entry_that_dies_and_is_born_again_within_itself_is_not_dead() -> None:
    state = ShardState()
    made = [
        make_batch(1, records=[b"a"], runs=[(QUEUE, 0, 1)]),
        make_batch(2, settles=[(QUEUE, 0, 1)]),
        make_batch(3, records=[b"b"], runs=[(QUEUE, 0, 1)]),
    ]
    state.apply(1, encode_entry(0, made, LeaderOps()))
    assert state.take_dead(1) == []
    touch(state, 4, settles=True, first=1, count=1)
    assert 1 in state.take_dead(4)


def test_dead_entries_are_handed_out_up_to_an_index() -> None:
    state = ShardState()
    state.skip(1)
    state.skip(2)
    state.skip(3)
    assert state.take_dead(2) == [1, 2]
    assert state.take_dead(3) == [3]


def test_a_dropped_queue_takes_its_messages_along_and_starts_anew() -> None:
    state = ShardState()
    enqueue(state, 1, 3)
    applied = state.apply(2, encode_entry(0, [], LeaderOps(drops=column([(QUEUE,)]))))
    assert applied.dropped == [QUEUE]
    assert state.live == {}
    assert state.take_dead(2) == [1, 2]


def test_a_drop_of_a_queue_without_contents_is_reported_too() -> None:
    state = ShardState()
    assert state.apply(1, encode_entry(0, [], LeaderOps(drops=column([(QUEUE,)])))).dropped == [QUEUE]


def test_many_runs_settled_in_order_leave_short_columns() -> None:
    state = ShardState()
    for index in range(1, 4001):
        batch = make_batch(index, records=[b"x"], runs=[(QUEUE, 0, 1)])
        state.apply(index, encode_entry(0, [batch], LeaderOps()))
    queue = state.queues[QUEUE]
    for seq in range(3000):
        touch(state, 4001 + seq, settles=True, first=seq, count=1)
    assert len(queue.first) < 2500
    assert list(queue.places(3000, 3002)) == [(3000, 1, 3001, 0), (3001, 1, 3002, 0)]
