"""The wire and disk form of a shard's log entry, and of the batches it is made of.

Law: an entry is `u32 head_length | head | payloads`. The head is a compact table (msgpack) of what happened;
the payloads behind it are the records of the enqueued messages, opaque and contiguous. Who does not need a
message never touches its bytes. Integers in packed columns are little-endian.

A *record* is one message as stored, see `cluster.amqp.record`. A *slot* is a record's position in its entry, from 0.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct
from typing import NewType

import msgpack

from cluster.amqp.pieces import Octets, flat
from cluster.amqp.record import RECORD_HEAD, RECORD_HEAD_SIZE
from cluster.broker.shard.columns import (
    NOTHING,
    EntryCorrupt,
    check_column,
    check_marks,
    check_runs,
    pack_column,
    quadruples,
    triples,
    unpack_column,
)
from cluster.broker.shard.death import REASONS
from cluster.broker.shard.tx_ops import ALONE, rows_in_order, verdicts_in_order

QueueId = NewType("QueueId", int)
"""The catalog's log index at which the queue was declared: unique for ever."""

HIDDEN_QUEUES = 0xFFFF << 48
"""Queue ids from here on are a shard's own outboxes, one for each target shard; the catalog never gives them out."""
SHARD_SESSIONS = 1 << 20
"""Session SHARD_SESSIONS + n is shard n's, which sends messages out of its outbox; lower ones are nodes'."""
ENTRY_VERSION = 1
_LENGTH = Struct("<I")
HEAVY_BATCH_BYTES = 4 << 20
"""A batch that takes longer to write than a commit takes: it goes by itself, so that no small one waits for it that
could go first."""
_VIEW_BYTES_MIN = 64 << 10
"""Records from here on are not copied out of an entry."""


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _check_transactions(rows: array[int], node: int, returns: object) -> None:
    if not rows_in_order(rows) or node >= SHARD_SESSIONS or (rows[0] in ALONE and returns):
        raise EntryCorrupt("a batch cannot do that with transactions")


@dataclass(slots=True, eq=False)
class Batch:
    """What one home node wants done in one shard, in one piece: numbered so that it is done once.

    node, incarnation, number  the home-node session and the position in it, from 1
    sizes     bytes of the u32 column of record sizes, one per slot
    runs      bytes of u64 triples (queue, first slot, count): slots enqueued to a queue, in this order
    settles   bytes of u64 triples (queue, first seq, count): messages that are done with
    returns   bytes of u64 triples (queue, first seq, count): messages given back after a delivery
    rejects   bytes of u64 triples (queue, first seq, count): messages that a consumer will not have
    marks     bytes of u64 triples (slot, Mark, value), of the few messages that have any
    payload   the records, joined; if there is a large one among them, in pieces
    transactions  bytes of u64 triples (TxOp, transaction, shard): done before the rest, or what is done with the rest
    refused   bytes of u64 pairs (first slot, count): what the leader did not let in; of a batch that is refused as
              a whole one u64, the Refusal. Not on the wire
    """

    node: int
    incarnation: int
    number: int
    sizes: bytes
    runs: bytes
    settles: bytes
    returns: bytes
    rejects: bytes
    marks: bytes
    payload: Octets
    transactions: bytes = b""
    refused: bytes = b""

    def to_wire(self) -> list[object]:
        wire: list[object] = [
            self.node,
            self.incarnation,
            self.number,
            self.sizes,
            self.runs,
            self.settles,
            self.returns,
            self.rejects,
            self.marks,
            self.payload,
        ]
        return [*wire, self.transactions] if self.transactions else wire

    @classmethod
    def from_wire(cls, wire: Sequence[object]) -> Batch:
        """Raises EntryCorrupt for anything that `to_wire` does not make: what gets into the log can be read."""
        if (
            not isinstance(wire, Sequence)
            or len(wire) not in (10, 11)
            or not all(_is_count(v) for v in wire[:3])
            or not all(isinstance(v, bytes) for v in wire[3:])
        ):
            raise EntryCorrupt("a batch has three integers and seven or eight byte strings")
        batch = cls(*wire)  # type: ignore[arg-type]
        check_column(batch.sizes, 4)
        sizes = unpack_column("I", batch.sizes)
        if sum(sizes) != len(batch.payload):
            raise EntryCorrupt("a batch is shorter or longer than its records")
        check_runs(triples(batch.runs), len(sizes))
        for column in (batch.settles, batch.returns, batch.rejects):
            if column:
                check_column(column, 24)
        if batch.marks:
            check_marks(triples(batch.marks), len(sizes))
        if len(wire) == 11:
            _check_transactions(triples(batch.transactions), batch.node, batch.returns)
        return batch

    @property
    def alone(self) -> bool:
        """Is it a part of a transaction, done or refused as a whole?"""
        return bool(self.transactions) and unpack_column("Q", self.transactions[:8])[0] in ALONE

    @property
    def rows(self) -> int:
        """Stretches of messages that it settles, gives back or rejects."""
        return (len(self.settles) + len(self.returns) + len(self.rejects)) // 24

    @property
    def weight(self) -> int:
        """Bytes it takes in an entry, about."""
        columns = len(self.sizes) + len(self.runs) + len(self.settles) + len(self.returns)
        return len(self.payload) + columns + len(self.rejects) + len(self.marks) + 32


@dataclass(slots=True, eq=False)
class LeaderOps:
    """What the leader decided. Columns as in `Batch`.

    hot         u64 queues whose watermark rises to their next seq once the entry's runs are enqueued
    watermarks  u64 pairs (queue, seq): messages below seq may have been delivered from now on
    settles, returns  as in a batch, decided by the leader (purge; messages of a lost node)
    drops       u64 queues whose contents go
    forgives    u64 triples (queue, first seq, count): messages whose returns count no more
    moves       u64 quadruples (queue, seq, target queue, slot): if the message is alive, the leader's record at
                `slot` is enqueued to the target; at the end of all moves the message is settled. Queue 0: always
    marks, sizes, payload  of the leader's own records, which stand behind those of all batches
    verdicts    u64 quadruples (TxOp, node, incarnation, number): outcomes of transactions
    dooms       u64 quadruples (queue, first seq, count, number of the reason in `REASONS`): messages that shall leave
    """

    hot: bytes = b""
    watermarks: bytes = b""
    settles: bytes = b""
    returns: bytes = b""
    drops: bytes = b""
    forgives: bytes = b""
    moves: bytes = b""
    marks: bytes = b""
    sizes: bytes = b""
    payload: bytes = b""
    verdicts: bytes = b""
    dooms: bytes = b""

    def __bool__(self) -> bool:
        return bool(
            self.hot
            or self.watermarks
            or self.settles
            or self.returns
            or self.drops
            or self.forgives
            or self.moves
            or self.verdicts
            or self.dooms
        )


NO_OPS = LeaderOps()
_OPS_ROW_BYTES = (8, 16, 24, 24, 8, 24, 32, 24)
"""Of the columns of LeaderOps in an entry's head, in their order; then verdicts and dooms, if there are any."""


@dataclass(slots=True, eq=False)
class BatchHead:
    """A batch within an entry: its `slots` slots start at `first_slot` of the entry."""

    node: int
    incarnation: int
    number: int
    first_slot: int
    slots: int
    runs: array[int]
    settles: array[int]
    returns: array[int]
    rejects: array[int]
    marks: array[int]
    refused: bytes
    transactions: array[int]
    size: int
    """Bytes of its records, where it has to do with transactions."""


@dataclass(slots=True, eq=False)
class EntryHead:
    """What an entry does, without its payloads. `time_ms` is the leader's wall clock, Unix milliseconds.

    The leader's own records begin at `leader_slot`; `leader.sizes` and `leader.payload` are left empty here.
    """

    time_ms: int
    batches: list[BatchHead]
    leader: LeaderOps
    leader_slot: int


def encode_entry(time_ms: int, batches: Sequence[Batch], leader: LeaderOps) -> bytes:
    """One log entry of many batches."""
    ops: list[bytes] | None = None
    sizes = [b.sizes for b in batches]
    payloads = flat([b.payload for b in batches])
    if leader is not NO_OPS and leader:
        ops = [
            leader.hot,
            leader.watermarks,
            leader.settles,
            leader.returns,
            leader.drops,
            leader.forgives,
            leader.moves,
            leader.marks,
        ]
        if leader.verdicts or leader.dooms:
            ops.append(leader.verdicts)
        if leader.dooms:
            ops.append(leader.dooms)
        sizes.append(leader.sizes)
        payloads.append(leader.payload)
    head = msgpack.packb(
        [
            ENTRY_VERSION,
            time_ms,
            [
                [
                    b.node,
                    b.incarnation,
                    b.number,
                    len(b.sizes) // 4,
                    b.runs,
                    b.settles,
                    b.returns,
                    b.rejects,
                    b.marks,
                    b.refused,
                    *([b.transactions] if b.transactions else []),
                ]
                for b in batches
            ],
            ops,
            b"".join(sizes),
        ]
    )
    return b"".join([_LENGTH.pack(len(head)), head, *payloads])


def _unpack(data: bytes) -> tuple[list[object], int]:
    try:
        (length,) = _LENGTH.unpack_from(data)
        head = msgpack.unpackb(memoryview(data)[4 : 4 + length])
    except Exception as error:
        raise EntryCorrupt(f"entry head cannot be read: {error}") from error
    if not isinstance(head, list) or len(head) != 5 or head[0] != ENTRY_VERSION:
        raise EntryCorrupt("entry has an unknown version")
    return head, 4 + length


def decode_head(data: bytes) -> EntryHead:
    """What the entry does. Raises EntryCorrupt."""
    (_, time_ms, rows, ops, sizes), _ = _unpack(data)
    if not _is_count(time_ms) or not isinstance(rows, list) or not isinstance(sizes, bytes):
        raise EntryCorrupt("entry head has other fields than this version")
    batches: list[BatchHead] = []
    slot = 0
    for row in rows:
        if not isinstance(row, list) or len(row) not in (10, 11):
            raise EntryCorrupt("a batch has four integers and six or seven columns")
        node, incarnation, number, slots, runs, settles, returns, rejects, marks, refused = row[:10]
        if not (type(node) is type(incarnation) is type(number) is type(slots) is int) or (
            node < 0 or incarnation < 0 or number < 0 or slots < 0
        ):
            raise EntryCorrupt("a batch has four integers and six or seven columns")
        if refused != b"":
            check_column(refused, 16 if len(row) == 10 else 8)
        batch = BatchHead(
            node,
            incarnation,
            number,
            slot,
            slots,
            triples(runs) if runs != b"" else NOTHING,
            triples(settles) if settles != b"" else NOTHING,
            triples(returns) if returns != b"" else NOTHING,
            triples(rejects) if rejects != b"" else NOTHING,
            triples(marks) if marks != b"" else NOTHING,
            refused,
            NOTHING,
            0,
        )
        if batch.runs:
            check_runs(batch.runs, slots)
        if batch.marks:
            check_marks(batch.marks, slots)
        if len(row) == 11:
            batch.transactions = triples(row[10])
            _check_transactions(batch.transactions, node, returns)
            batch.size = sum(unpack_column("I", sizes[4 * slot : 4 * (slot + slots)]))
        batches.append(batch)
        slot += slots
    rest, cut = divmod(len(sizes), 4)
    leader = _leader_ops(ops, rest - slot)
    if cut or rest < slot or (ops is None and rest > slot):
        raise EntryCorrupt("entry has more or fewer records than its batches")
    return EntryHead(time_ms, batches, leader, slot)  # type: ignore[arg-type]


def _leader_ops(wire: object, slots: int) -> LeaderOps:
    if wire is None:
        return NO_OPS
    columns = len(_OPS_ROW_BYTES)
    if not isinstance(wire, list) or not columns <= len(wire) <= columns + 2:
        raise EntryCorrupt("the leader's operations have eight to ten columns")
    for column, row_bytes in zip(wire, (*_OPS_ROW_BYTES, 32, 32), strict=False):
        check_column(column, row_bytes)
    ops = LeaderOps(*wire[:columns])
    if len(wire) > columns:
        ops.verdicts = wire[columns]
        if not verdicts_in_order(quadruples(ops.verdicts)):
            raise EntryCorrupt("a leader cannot do that with transactions")
    if len(wire) > columns + 1:
        ops.dooms = wire[columns + 1]
        if any(reason >= len(REASONS) for reason in quadruples(ops.dooms)[3::4]):
            raise EntryCorrupt("messages leave for a reason that this version does not know")
    if ops.marks:
        check_marks(triples(ops.marks), slots)
    if ops.moves and max(quadruples(ops.moves)[3::4]) >= slots:
        raise EntryCorrupt("a move points beyond the leader's records")
    return ops


class EntryPayloads:
    """The records of one entry, found by slot. Holds the entry's bytes."""

    __slots__ = ("data", "offsets", "sizes")

    def __init__(self, data: bytes) -> None:
        """Raises EntryCorrupt."""
        head, start = _unpack(data)
        self.data = data
        check_column(head[4], 4)
        self.sizes = unpack_column("I", head[4])  # type: ignore[arg-type]
        self.offsets = array("Q", accumulate(self.sizes, initial=start))
        if self.offsets[-1] != len(data):
            raise EntryCorrupt("entry is shorter or longer than its records")

    def slice(self, slot: int, count: int) -> tuple[bytes, bytes | memoryview]:
        """`(sizes, records)` of `count` slots: the u32 column's bytes and the joined records, which are a view of the
        entry if they are large."""
        start, end = self.offsets[slot], self.offsets[slot + count]
        data = self.data if end - start < _VIEW_BYTES_MIN else memoryview(self.data)
        return pack_column(self.sizes[slot : slot + count]), data[start:end]

    def record(self, slot: int) -> bytes:
        """One message as stored."""
        return self.data[self.offsets[slot] : self.offsets[slot + 1]]

    def body_size(self, slot: int) -> int:
        """Bytes of a message's body."""
        envelope_size, header_size = RECORD_HEAD.unpack_from(self.data, self.offsets[slot])
        return self.sizes[slot] - RECORD_HEAD_SIZE - int(envelope_size) - int(header_size)

    def body_sizes(self, slot: int, count: int) -> int:
        """Bytes of the bodies of `count` messages together."""
        offsets, data, unpack = self.offsets, self.data, RECORD_HEAD.unpack_from
        heads = sum([sum(unpack(data, offset)) for offset in offsets[slot : slot + count]])
        return offsets[slot + count] - offsets[slot] - heads - count * RECORD_HEAD_SIZE
