"""Batches and entries for tests, at random and by hand."""

from __future__ import annotations

from array import array

from hypothesis import strategies as st

from cluster.broker.shard.columns import pack_column
from cluster.broker.shard.entry import SHARD_SESSIONS, Batch, LeaderOps, encode_entry

Triples = list[tuple[int, int, int]]


def column(rows: list[tuple[int, ...]]) -> bytes:
    return pack_column(array("Q", [n for row in rows for n in row]))


def make_batch(
    number: int,
    *,
    node: int = 1,
    incarnation: int = 1,
    records: list[bytes] | None = None,
    runs: Triples | None = None,
    settles: Triples | None = None,
    returns: Triples | None = None,
    rejects: Triples | None = None,
    marks: Triples | None = None,
) -> Batch:
    records = records or []
    return Batch(
        node,
        incarnation,
        number,
        pack_column(array("I", [len(r) for r in records])),
        column(list(runs or [])),
        column(list(settles or [])),
        column(list(returns or [])),
        column(list(rejects or [])),
        column(list(marks or [])),
        b"".join(records),
    )


QUEUES = st.integers(1, 3)
TOUCHED = st.lists(st.tuples(QUEUES, st.integers(0, 30), st.integers(0, 6)), max_size=3)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    records = draw(st.lists(st.binary(max_size=6), max_size=5))
    runs: Triples = []
    for _ in range(draw(st.integers(0, 2)) if records else 0):
        slot = draw(st.integers(0, len(records) - 1))
        runs.append((draw(QUEUES), slot, draw(st.integers(1, len(records) - slot))))
    marks = (
        [(draw(st.integers(0, len(records) - 1)), draw(st.integers(1, 4)), draw(st.integers(1, 9)))] if records else []
    )
    return make_batch(
        draw(st.integers(1, 6)),
        node=draw(st.sampled_from([1, 2, SHARD_SESSIONS + 3])),
        incarnation=draw(st.integers(1, 2)),
        records=records,
        runs=runs,
        settles=draw(TOUCHED),
        returns=draw(TOUCHED),
        rejects=draw(TOUCHED),
        marks=marks,
    )


@st.composite
def leader_ops(draw: st.DrawFn) -> LeaderOps:
    moves: list[tuple[int, ...]] = []
    records = draw(st.lists(st.binary(max_size=6), max_size=2))
    for slot in range(len(records)):
        moves.append((draw(st.integers(0, 3)), draw(st.integers(0, 9)), draw(QUEUES), slot))
    return LeaderOps(
        column([(q,) for q in draw(st.lists(QUEUES, max_size=2))]),
        column(list(draw(st.lists(st.tuples(QUEUES, st.integers(0, 40)), max_size=2)))),
        column(list(draw(TOUCHED))),
        column(list(draw(TOUCHED))),
        column([(q,) for q in draw(st.lists(QUEUES, max_size=1))]),
        column(list(draw(TOUCHED))),
        column(list(moves)),
        column([(0, draw(st.integers(1, 4)), draw(st.integers(1, 9)))] if records else []),
        pack_column(array("I", [len(r) for r in records])),
        b"".join(records),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """Entries in which most batches are in turn, and some are not."""
    last: dict[tuple[int, int], int] = {}
    entries: list[bytes] = []
    for _ in range(draw(st.integers(1, 8))):
        made = draw(st.lists(batches(), max_size=3))
        for batch in made:
            key = (batch.node, batch.incarnation)
            if draw(st.integers(0, 4)):
                batch.number = last.get(key, 0) + (len(batch.sizes) // 4 if batch.node >= SHARD_SESSIONS else 1)
            last[key] = max(batch.number, last.get(key, 0))
        ops = draw(leader_ops()) if draw(st.booleans()) else LeaderOps()
        entries.append(encode_entry(len(entries), made, ops))
    return entries
