"""Entries and batches: what is written is read, and what was not written is refused."""

from array import array
from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.broker.shard.columns import EntryCorrupt, pack_column, unpack_column
from cluster.broker.shard.entry import Batch, EntryPayloads, LeaderOps, decode_head, encode_entry
from cluster.broker.shard.state import ShardState
from tests.broker.shard.batches import batches, leader_ops, make_batch


@settings(max_examples=100)
@given(st.integers(0, 2**53), st.lists(batches(), max_size=4), leader_ops())
def test_an_entry_is_read_as_it_was_written(time_ms: int, made: list[Batch], ops: LeaderOps) -> None:
    data = encode_entry(time_ms, made, ops)
    head = decode_head(data)
    payloads = EntryPayloads(data)
    assert head.time_ms == time_ms
    for name in LeaderOps.__slots__:
        if ops and name not in {"sizes", "payload"}:
            assert getattr(head.leader, name) == getattr(ops, name)
    slot = 0
    for batch, read in zip(made, head.batches, strict=True):
        assert (read.node, read.incarnation, read.number) == (batch.node, batch.incarnation, batch.number)
        assert read.first_slot == slot
        for name in ("runs", "settles", "returns", "rejects", "marks"):
            assert pack_column(getattr(read, name)) == getattr(batch, name)
        count = len(batch.sizes) // 4
        assert payloads.slice(slot, count) == (batch.sizes, batch.payload)
        slot += count


@settings(max_examples=100)
@given(batches())
def test_a_batch_survives_the_wire(batch: Batch) -> None:
    read = Batch.from_wire(msgpack.unpackb(msgpack.packb(batch.to_wire())))
    assert read.to_wire() == batch.to_wire()


def test_columns_are_little_endian() -> None:
    assert pack_column(array("Q", [1, 258])) == bytes([1, *[0] * 7, 2, 1, *[0] * 6])
    assert unpack_column("I", bytes([2, 1, 0, 0])) == array("I", [258])


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_entry_is_corrupt_or_harmless_and_never_half_applied(seed: int) -> None:
    random = Random(seed)
    made = [
        make_batch(
            n + 1,
            records=[random.randbytes(random.randrange(9)) for _ in range(4)],
            runs=[(7, 0, 4)],
            settles=[(7, 0, 1)],
        )
        for n in range(3)
    ]
    ops = LeaderOps(pack_column(array("Q", [7])), pack_column(array("Q", [7, 3])))
    data = encode_entry(1, made, ops)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(random.randrange(1, 4)):
            damaged[random.randrange(min(len(data), 200))] = random.randrange(256)
        del damaged[random.choice([len(data), len(data), random.randrange(len(data))]) :]
        state = ShardState()
        before = state.snapshot()
        try:
            state.apply(1, bytes(damaged))
        except EntryCorrupt:
            assert state.snapshot() == before, f"seed {seed}"
            assert not state.dead
        try:
            EntryPayloads(bytes(damaged))
        except EntryCorrupt:
            continue


def test_an_entry_of_another_version_is_corrupt() -> None:
    head = msgpack.packb([2, 0, [], None, b""])
    with pytest.raises(EntryCorrupt, match="entry has an unknown version"):
        decode_head(len(head).to_bytes(4, "little") + head)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, "1"),
        (1, -1),
        (2, True),
        (3, b"\x01\x00"),
        (3, b"\x09\x00\x00\x00"),
        (4, b"\x00" * 25),
        (4, pack_column(array("Q", [7, 0, 2]))),
        (4, pack_column(array("Q", [7, 0, 0]))),
        (4, pack_column(array("Q", [7, 2**63, 1]))),
        (5, b"\x00" * 8),
        (6, "text"),
        (7, b"\x00" * 25),
        (8, pack_column(array("Q", [1, 1, 1]))),
        (9, b"four"),
    ],
)
def test_a_batch_that_no_stream_makes_is_refused_before_it_gets_into_the_log(field: int, value: object) -> None:
    wire = make_batch(1, records=[b"abc"], runs=[(7, 0, 1)]).to_wire()
    Batch.from_wire(wire)
    wire[field] = value
    with pytest.raises(EntryCorrupt):
        Batch.from_wire(wire)


@pytest.mark.parametrize("wire", [[], [1, 2, 3], 5, None, b"12345678"])
def test_what_is_no_batch_at_all_is_refused(wire: object) -> None:
    with pytest.raises(EntryCorrupt):
        Batch.from_wire(wire)  # type: ignore[arg-type]
