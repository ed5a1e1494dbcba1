"""The journal: a file of fixed size in front of LMDB that takes small writes, at one flush instead of two.

Law: a record is durable when `append` returns. Records of one generation follow each other from the beginning of the
file; LMDB knows the generation, and the commit that takes in what the journal holds begins the next: what lies in the
file of earlier ones is nothing. A record that was being written when the power failed may be torn, and is nothing
either: nobody was told of it. Any other that cannot be read is damage, and so is a torn one where the machine has not
been started anew since: what a process has written does not get lost with the process. Of what it was writing then the
last pages may be missing. What is found was perhaps never flushed: it is written again before anybody builds on it.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.raft.storage import StorageCorrupt, StorageIO
from cluster.store.directory import flush_directory

JOURNAL_NAME = "journal"
JOURNAL_BYTES = 4 << 20
"""Of the file. It is written once as a whole, so that a record changes nothing but its own bytes."""
RECORDS_MAX = 512
"""In one generation: so many are taken into LMDB in one commit of some milliseconds."""
_PAGE_BYTES = 4096
"""Of the page cache, or a divisor."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LABEL = struct.Struct(">8sI36s")
"""magic, seed of the checksums, boot of the machine; then their checksum"""
_LABEL_MAGIC = b"cmqjrnl1"
_FIRST = 512
"""Where records begin: the label has a sector of its own."""
_HEAD = struct.Struct(">4sQQII")
"""magic, generation, number in it, length and checksum of the body; then the checksum of these. It stands before the
body and behind it."""
_MAGIC = b"jrec"
_CRC = struct.Struct(">I")
_HEAD_BYTES = _HEAD.size + _CRC.size
_RECORD_BYTES = 2 * _HEAD_BYTES
"""What a record takes beyond its body."""


def boot_id() -> bytes:
    """Of the machine's latest start; b"" where that cannot be known."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""


def _label(seed: int, boot: bytes) -> bytes:
    label = _LABEL.pack(_LABEL_MAGIC, seed, boot)
    return label + _CRC.pack(zlib.crc32(label))


@dataclass(frozen=True, slots=True)
class _Head:
    number: int
    length: int
    checksum: int


class Journal:
    """The file `JOURNAL_NAME` in `directory`, with what it held of a generation at first: `records`, oldest first.

    Raises StorageCorrupt for one that is damaged, cannot be read or is gone, OSError.
    """

    def __init__(self, directory: Path, generation: int) -> None:
        self.path = directory / JOURNAL_NAME
        self.records: list[bytes] = []
        self._generation = generation
        self._seed = 0
        self._position = _FIRST
        self._count = 0
        self.is_used = False
        """May it hold anything of this generation?"""
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StorageCorrupt(f"{self.path} is gone, though {directory} was in use") from None
        try:
            self._load()
            self._put_label()
        except BaseException:
            os.close(self._file)
            raise

    @classmethod
    def made(cls, directory: Path, generation: int) -> Journal:
        """An empty one, in place of whatever is there. Raises OSError."""
        path = directory / JOURNAL_NAME
        draft = path.with_suffix(".new")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640), "wb") as file:
                file.write(_label(secrets.randbits(32), b"").ljust(JOURNAL_BYTES, b"\0"))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        draft.rename(path)
        flush_directory(directory)
        return cls(directory, generation)

    def has_room(self, length: int) -> bool:
        """Is there room for a body of that many bytes?"""
        return self._count < RECORDS_MAX and self._position + _RECORD_BYTES + length <= JOURNAL_BYTES

    @property
    def held_bytes(self) -> int:
        """Of the records of this generation."""
        return self._position - _FIRST

    def append(self, body: bytes) -> None:
        """One record more; durable when this returns. There has to be room.

        Raises OSError if it could not be written, as where a disk that copies on write is full: it is not there then,
        and what it brings is to be committed elsewhere. Raises StorageIO if it was written and could not be flushed.
        """
        head = self._encode_head(len(body), zlib.crc32(body, self._seed))
        record = b"".join((head, body, head))
        self.is_used = True
        self._put(record, self._position)
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise StorageIO(f"{self.path} failed: {error}") from error
        self._position += len(record)
        self._count += 1

    def begin(self, generation: int) -> None:
        """All that it holds is durable elsewhere, with the number of the new generation."""
        self._generation = generation
        self._position = _FIRST
        self._count = 0
        self.is_used = False

    def close(self) -> None:
        os.close(self._file)

    # ---- the file

    def _put_label(self) -> None:
        self._put(_label(self._seed, boot_id()), 0)
        os.fdatasync(self._file)

    def _load(self) -> None:
        try:
            content = os.pread(self._file, JOURNAL_BYTES + 1, 0)
        except OSError as error:
            raise StorageCorrupt(f"{self.path} is damaged: {error.strerror}") from error
        if len(content) != JOURNAL_BYTES:
            raise StorageCorrupt(f"{self.path} is damaged: it has {len(content)} bytes instead of {JOURNAL_BYTES}")
        label = content[: _LABEL.size]
        magic, self._seed, boot = _LABEL.unpack(label)
        if magic != _LABEL_MAGIC or content[_LABEL.size : _LABEL.size + _CRC.size] != _CRC.pack(zlib.crc32(label)):
            raise StorageCorrupt(f"{self.path} is damaged: its label does not match its checksum")
        while (body := self._body_at(content, self._position)) is not None:
            self.records.append(body)
            self._position += _RECORD_BYTES + len(body)
            self._count += 1
        self.is_used = bool(self.records)
        end = self._position
        heads = list(self._heads_from(content, self._position))
        latest = max((head.number for head in heads), default=-1)
        if latest >= self._count:
            # Somebody has begun another record. It may be torn if it was the last: in any way with the machine, else
            # only where the kernel goes from page to page.
            is_same_boot = boot.rstrip(b"\0") == boot_id() != b""
            if latest > self._count or (is_same_boot and not self._is_cut_short(content, heads)):
                raise StorageCorrupt(f"{self.path} is damaged: record {self._count} does not match its checksum")
            end = JOURNAL_BYTES
        # Written again: it may be in the page cache alone, and where the device refused it, no later flush says so.
        self._put(content[_FIRST : self._position].ljust(end - _FIRST, b"\0"), _FIRST)
        os.fdatasync(self._file)

    def _put(self, content: bytes, position: int) -> None:
        written = os.pwrite(self._file, content, position)
        if written != len(content):
            raise OSError(errno.ENOSPC, f"{written} of {len(content)} bytes were written", str(self.path))

    def _is_cut_short(self, content: bytes, heads: list[_Head]) -> bool:
        """Has the record in front only its beginning? So a process leaves it that was killed while it was copied into
        the page cache. A bit that was flipped leaves the other end as well, or the whole body."""
        head = self._head_at(content, self._position)
        if head is None or heads != [head]:
            return False
        start = self._position + _HEAD_BYTES
        is_whole = zlib.crc32(content[start : start + head.length], self._seed) == head.checksum
        last = start + head.length + _HEAD_BYTES - 1
        return not is_whole and self._position // _PAGE_BYTES != last // _PAGE_BYTES

    def _encode_head(self, length: int, checksum: int) -> bytes:
        head = _HEAD.pack(_MAGIC, self._generation, self._count, length, checksum)
        return head + _CRC.pack(zlib.crc32(head, self._seed))

    def _head_at(self, content: bytes, position: int) -> _Head | None:
        """A head of this generation."""
        head = content[position : position + _HEAD.size]
        crc = content[position + _HEAD.size : position + _HEAD_BYTES]
        if len(crc) < _CRC.size or crc != _CRC.pack(zlib.crc32(head, self._seed)):
            return None
        magic, generation, number, length, checksum = _HEAD.unpack(head)
        return _Head(number, length, checksum) if (magic, generation) == (_MAGIC, self._generation) else None

    def _body_at(self, content: bytes, position: int) -> bytes | None:
        """Of the next record, if it is there and whole."""
        head = self._head_at(content, position)
        if head is None or head.number != self._count:
            return None
        start = position + _HEAD_BYTES
        body = content[start : start + head.length]
        if self._head_at(content, start + head.length) != head or zlib.crc32(body, self._seed) != head.checksum:
            return None
        return body

    def _heads_from(self, content: bytes, position: int) -> Iterator[_Head]:
        """Whatever looks like the beginning or the end of a record of this generation."""
        pattern = _HEAD.pack(_MAGIC, self._generation, 0, 0, 0)[:12]
        at = content.find(pattern, position)
        while at >= 0:
            head = self._head_at(content, at)
            if head is not None:
                yield head
            at = content.find(pattern, at + 1)
