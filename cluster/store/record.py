"""The stored form of what a group owns: entries, hard states, snapshot heads, pieces of a snapshot's index.

Law: every record carries a CRC-32 that also covers where it stands (group and position), so a record that is
torn, rotten, or in the wrong place never decodes. All integers are big-endian. An entry's header has its own
checksum, so that its term is read without touching its data. Decoding raises StorageCorrupt with one line
that names the group and the index.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from cluster.raft.storage import Health, StorageCorrupt
from cluster.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    GroupId,
    HardState,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)

Buffer = bytes | memoryview
"""What LMDB hands out inside a read transaction, or a copy of it."""

_PLACE = struct.Struct(">IQ")
_CRC = struct.Struct(">I")
_ENTRY = struct.Struct(">IIIB3xQ")
"""header checksum, data checksum, data length, kind, term"""
_HARD = struct.Struct(">IQQQQ")
_HARD_WITHOUT_END = struct.Struct(">IQQQ")
"""As format 1 had it at first."""
_META = struct.Struct(">QQHHHH")
_HEAD = struct.Struct(">BI")

ENTRY_HEADER_SIZE = _ENTRY.size
"""Bytes that a stored entry takes beyond its data."""


def encode_entry(group: GroupId, entry: Entry) -> bytes:
    """Stored form of an entry: a 24-byte header, then its data."""
    data = entry.data
    header = _ENTRY.pack(0, zlib.crc32(data), len(data), entry.kind, entry.term)
    place = zlib.crc32(_PLACE.pack(group, entry.index))
    return b"".join((_CRC.pack(zlib.crc32(header[4:], place)), header[4:], data))


def _entry_header(group: GroupId, index: int, record: Buffer) -> tuple[int, int, int]:
    """Checked (data checksum, kind, term) of a stored entry."""
    if len(record) >= ENTRY_HEADER_SIZE:
        header_crc, data_crc, length, kind, term = _ENTRY.unpack_from(record)
        place = zlib.crc32(_PLACE.pack(group, index))
        if zlib.crc32(record[4:ENTRY_HEADER_SIZE], place) == header_crc and length == len(record) - ENTRY_HEADER_SIZE:
            return data_crc, kind, term
    raise StorageCorrupt(f"group {group}: entry {index} has a damaged header")


def decode_term(group: GroupId, index: int, record: Buffer) -> Term:
    """Term of a stored entry; its data is not looked at. Raises StorageCorrupt."""
    return Term(_entry_header(group, index, record)[2])


def check_entry(group: GroupId, index: int, record: Buffer) -> tuple[EntryKind, Term]:
    """Kind and term of a stored entry whose data was checked too. Raises StorageCorrupt."""
    data_crc, kind, term = _entry_header(group, index, record)
    if zlib.crc32(record[ENTRY_HEADER_SIZE:]) != data_crc:
        raise StorageCorrupt(f"group {group}: entry {index} does not match its checksum")
    return EntryKind(kind), Term(term)


def decode_data(group: GroupId, index: int, record: Buffer) -> bytes:
    """Data of a stored entry, checked and copied out. Raises StorageCorrupt."""
    check_entry(group, index, record)
    return bytes(record[ENTRY_HEADER_SIZE:])


def decode_entry(group: GroupId, index: int, record: Buffer) -> Entry:
    """A stored entry, checked and copied out. Raises StorageCorrupt."""
    kind, term = check_entry(group, index, record)
    return Entry(term, LogIndex(index), kind, bytes(record[ENTRY_HEADER_SIZE:]))


def encode_hard_state(group: GroupId, state: HardState, last_index: LogIndex) -> bytes:
    """Stored form of a hard state, and of where the log ends."""
    body = _HARD.pack(0, state.term, state.vote, state.commit_index, last_index)[4:]
    return _CRC.pack(zlib.crc32(body, group)) + body


def decode_hard_state(group: GroupId, record: Buffer) -> tuple[HardState, LogIndex | None]:
    """A stored hard state, and the index of the last entry that was in the log with it; None if that was not
    written yet. Raises StorageCorrupt."""
    if len(record) not in (_HARD.size, _HARD_WITHOUT_END.size) or _CRC.unpack_from(record)[0] != zlib.crc32(
        record[4:], group
    ):
        raise StorageCorrupt(f"group {group}: the hard state does not match its checksum")
    last_index: int | None = None
    if len(record) == _HARD.size:
        _, term, vote, commit_index, last_index = _HARD.unpack(record)
    else:
        _, term, vote, commit_index = _HARD_WITHOUT_END.unpack(record)
    end = LogIndex(last_index) if last_index is not None else None
    return HardState(Term(term), NodeId(vote), LogIndex(commit_index)), end


def encode_blob(group: GroupId, position: int, body: Buffer) -> bytes:
    """Stored form of opaque bytes that stand at `position` of a group."""
    return b"".join((_CRC.pack(zlib.crc32(body, zlib.crc32(_PLACE.pack(group, position)))), body))


def decode_blob(group: GroupId, position: int, record: Buffer, what: str) -> bytes:
    """The bytes given to `encode_blob`; `what` names them in the error. Raises StorageCorrupt."""
    body = record[4:]
    start = zlib.crc32(_PLACE.pack(group, position))
    if len(record) < 4 or zlib.crc32(body, start) != _CRC.unpack_from(record)[0]:
        raise StorageCorrupt(f"group {group}: {what} does not match its checksum")
    return bytes(body)


def encode_meta(meta: SnapshotMeta) -> bytes:
    """A snapshot's meta: index, term, four counts, then the members of the four tuples."""
    configuration = meta.configuration
    halves = (
        configuration.voters,
        configuration.outgoing_voters,
        configuration.learners,
        configuration.next_learners,
    )
    members = [member for half in halves for member in half]
    return _META.pack(meta.index, meta.term, *map(len, halves)) + struct.pack(f">{len(members)}Q", *members)


def decode_meta(body: bytes) -> SnapshotMeta:
    """Inverse of `encode_meta`; the caller has checked the record."""
    index, term, *counts = _META.unpack_from(body)
    members = [NodeId(member) for member in struct.unpack_from(f">{sum(counts)}Q", body, _META.size)]
    halves: list[tuple[NodeId, ...]] = []
    for count in counts:
        halves.append(tuple(members[:count]))
        del members[:count]
    voters, outgoing_voters, learners, next_learners = halves
    configuration = Configuration(voters, outgoing_voters, learners, next_learners)
    return SnapshotMeta(LogIndex(index), Term(term), configuration)


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """Where a group's snapshot is: its slot (0 or 1), and how many parts its index has; and the group's health."""

    slot: int
    part_count: int
    meta: SnapshotMeta
    health: Health = Health.SOUND


_HEAD_POSITION = 0
_HEALTH_SHIFT = 1
"""The first byte of a head: the slot, and above it the health."""


def encode_head(group: GroupId, head: SnapshotHead) -> bytes:
    """Stored form of a snapshot's head."""
    body = _HEAD.pack(head.slot | head.health << _HEALTH_SHIFT, head.part_count) + encode_meta(head.meta)
    return encode_blob(group, _HEAD_POSITION, body)


def decode_head(group: GroupId, record: Buffer) -> SnapshotHead:
    """A stored snapshot head. Raises StorageCorrupt."""
    body = decode_blob(group, _HEAD_POSITION, record, "the snapshot's meta")
    packed, part_count = _HEAD.unpack_from(body)
    return SnapshotHead(packed & 1, part_count, decode_meta(body[_HEAD.size :]), Health(packed >> _HEALTH_SHIFT))
