"""A snapshot in transfer: chunks of stored records, and how far a receiver has come.

Law: a snapshot is the ordered run of its records: the parts of the state machine's index, then the live
payloads at or below the snapshot's index. A record's key is its place in that order, and a cursor is the key
of the next record, so every store cuts a snapshot its own way and reads the chunks of any other. Records
travel with their checksums and are checked before they are kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cluster.raft.storage import SnapshotChunk, StorageCorrupt
from cluster.raft.types import GroupId, SnapshotMeta
from cluster.store.record import Buffer, check_entry, decode_blob, encode_blob

INDEX_PART = 0
LOG = 1
_KEY = struct.Struct(">BQ")
_LENGTH = struct.Struct(">I")
_RECORD_OVERHEAD = _KEY.size + _LENGTH.size

PART_SIZE = 16 * 4096 - 16 - 4
"""Bytes of the state machine's index in one record: with both headers, exactly sixteen LMDB pages."""


def log_key(index: int) -> bytes:
    """Key of an entry: after every part, and ascending, so that an append goes to the end of the tree."""
    return _KEY.pack(LOG, index)


def part_key(part: int) -> bytes:
    """Key of a part of the state machine's index, counted from 0."""
    return _KEY.pack(INDEX_PART, part)


def key_position(key: Buffer) -> tuple[int, int]:
    """(INDEX_PART or LOG, part or log index) of a key."""
    kind, position = _KEY.unpack(key)
    return kind, position


def split_index(group: GroupId, index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, stored record) of each part of a state machine's index."""
    view = memoryview(index)
    for part, offset in enumerate(range(0, len(index), PART_SIZE)):
        yield part_key(part), encode_blob(group, part + 1, view[offset : offset + PART_SIZE])


def decode_part(group: GroupId, part: int, record: Buffer) -> bytes:
    """Bytes of one part. Raises StorageCorrupt."""
    return decode_blob(group, part + 1, record, f"part {part} of the snapshot's index")


def check_record(group: GroupId, key: Buffer, record: Buffer) -> None:
    """Raises StorageCorrupt unless this is a record of the group, and stands where it was put."""
    if len(key) != _KEY.size:
        raise StorageCorrupt(f"group {group}: a key is damaged")
    kind, position = key_position(key)
    if kind == INDEX_PART:
        decode_part(group, position, record)
    elif kind == LOG:
        check_entry(group, position, record)
    else:
        raise StorageCorrupt(f"group {group}: a record is of unknown kind {kind}")


def cut_chunk(cursor: bytes, records: Iterable[tuple[Buffer, Buffer]], max_bytes: int) -> SnapshotChunk:
    """The chunk that starts at `cursor`: at least one of `records` (key, stored record), which begin there,
    then as many as fit in `max_bytes`."""
    pieces: list[Buffer] = []
    size = 0
    next_cursor: bytes | None = None
    for key, record in records:
        size += _RECORD_OVERHEAD + len(record)
        if pieces and size > max_bytes:
            next_cursor = bytes(key)
            break
        pieces += (key, _LENGTH.pack(len(record)), record)
    return SnapshotChunk(cursor, b"".join(pieces), next_cursor)


def chunk_records(group: GroupId, data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(key, stored record) of everything in a received chunk, each checked. Raises StorageCorrupt."""
    view = memoryview(data)
    offset = 0
    while offset < len(data):
        start = offset + _RECORD_OVERHEAD
        if start > len(data):
            raise StorageCorrupt(f"group {group}: a received snapshot chunk is cut off")
        (length,) = _LENGTH.unpack_from(data, offset + _KEY.size)
        key = data[offset : offset + _KEY.size]
        offset = start + length
        record = view[start:offset]
        check_record(group, key, record)
        yield key, record


@dataclass(frozen=True, slots=True)
class Received:
    """How far a snapshot being received has come."""

    meta: SnapshotMeta
    next_cursor: bytes | None
    """Where the next chunk must start; None when nothing is missing."""


def accept(
    received: Received | None, meta: SnapshotMeta | None, chunks: Sequence[SnapshotChunk]
) -> tuple[Received | None, list[SnapshotChunk]]:
    """The new progress, and those of `chunks` that are to be staged: duplicates are left out.

    A chunk with cursor b"" starts over, whatever came before. A gap, or a chunk that continues no transfer of
    `meta`, is a bug and raises AssertionError.
    """
    accepted: list[SnapshotChunk] = []
    for chunk in chunks:
        assert meta is not None, "staged chunks come with their meta"
        if chunk.cursor != b"":
            assert received is not None, "a staged chunk continues no transfer"
            assert received.meta == meta, "a staged chunk continues another transfer"
            if received.next_cursor is None or chunk.cursor < received.next_cursor:
                continue
            assert chunk.cursor == received.next_cursor, "a staged chunk leaves a gap"
        received = Received(meta, chunk.next_cursor)
        accepted.append(chunk)
    return received, accepted
