"""Entries with few survivors: found, read a few times at most, and rewritten with every survivor in its place."""

from __future__ import annotations

import random

from cluster.broker.shard.compaction import FEW, Compaction, remnant
from cluster.broker.shard.entry import NO_OPS, EntryPayloads, QueueId, encode_entry
from cluster.broker.shard.state import ShardState
from tests.broker.shard.batches import make_batch

Q = QueueId(7)
R = QueueId(9)


def filled(queues: list[QueueId], messages: int = 40) -> tuple[ShardState, bytes, Compaction]:
    """A state with one entry, 5, whose every message is in all of these queues."""
    records = [b"<%d>" % n + bytes(200) for n in range(messages)]
    data = encode_entry(0, [make_batch(1, records=records, runs=[(queue, 0, messages) for queue in queues])], NO_OPS)
    state = ShardState()
    state.apply(5, data)
    compaction = Compaction()
    compaction.written(5, state.live[5])
    return state, data, compaction


def settle(state: ShardState, queue: QueueId, first: int, count: int) -> None:
    number = state.sessions[1][1] + 1
    state.apply(state.applied_index + 1, encode_entry(0, [make_batch(number, settles=[(queue, first, count)])], NO_OPS))


def test_an_entry_is_looked_at_when_few_are_left_and_not_again_until_fewer_are() -> None:
    state, _, compaction = filled([Q])
    settle(state, Q, 0, 40 - 40 // FEW - 1)
    assert compaction.candidates(state, 99) == []
    settle(state, Q, 0, 40 - 40 // FEW)
    assert compaction.candidates(state, 4) == [], "only what a snapshot covers"
    assert compaction.candidates(state, 99) == [5]
    assert compaction.survivors(state, [5]) == {5: [(30, 10)]}
    assert compaction.candidates(state, 99) == []
    settle(state, Q, 30, 8)
    assert compaction.candidates(state, 99) == [5]


def test_an_entry_of_an_earlier_life_is_looked_at_once() -> None:
    state, _, _ = filled([Q])
    compaction = Compaction()
    assert compaction.candidates(state, 99) == [5]
    compaction.survivors(state, [5])
    assert compaction.candidates(state, 99) == []


def test_what_no_queue_accounts_for_keeps_its_entry_whole() -> None:
    state, _, compaction = filled([Q])
    settle(state, Q, 0, 39)
    state.live[5] += 1  # as a prepared transaction does
    assert compaction.survivors(state, [5]) == {}


def test_an_entry_that_was_rewritten_by_who_had_settled_more_is_left_as_it_is() -> None:
    state, data, compaction = filled([Q])
    settle(state, Q, 2, 36)
    behind = compaction.survivors(state, [5])[5]
    settle(state, Q, 38, 2)
    rewritten = remnant(data, compaction.survivors(state, [5])[5])
    assert rewritten is not None
    assert remnant(rewritten, behind) is None


def test_survivors_keep_their_slots_whichever_they_are() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    for _ in range(100):
        state, data, compaction = filled([Q, R])
        whole = EntryPayloads(data)
        for queue in (Q, R):
            for seq in source.sample(range(40), source.randrange(30, 40)):
                settle(state, queue, seq, 1)
        slots = compaction.survivors(state, [5])[5]
        alive = sorted({n for queue in (Q, R) for a, b in state.queues[queue].alive_parts(0, 40) for n in range(a, b)})
        assert [n for first, count in slots for n in range(first, first + count)] == alive
        shrunk = remnant(data, slots)
        if len(alive) < 6:
            assert shrunk is not None
        if shrunk is not None:
            assert len(shrunk) * FEW <= len(data)
            left = EntryPayloads(shrunk)
            assert all(left.record(slot) == whole.record(slot) for slot in alive)
            again = remnant(shrunk, slots[:1])
            assert again is None or EntryPayloads(again).record(slots[0][0]) == whole.record(slots[0][0])
