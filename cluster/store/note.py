"""Notes of a node's own in its store: a few bytes under a name.

Law: a note that is not what was written is found out.
"""

from __future__ import annotations

import zlib

from cluster.raft.storage import StorageCorrupt


def note_key(name: str) -> bytes:
    return b"note/" + name.encode()


def sealed(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4) + data


def unsealed(name: str, record: bytes) -> bytes:
    """Raises StorageCorrupt."""
    checksum, data = record[:4], record[4:]
    if checksum != zlib.crc32(data).to_bytes(4):
        raise StorageCorrupt(f"the record {name!r} does not match its checksum")
    return data
