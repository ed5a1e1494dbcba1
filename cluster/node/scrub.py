"""Reads the node's records in turn, so that damage is found while the other copies are good.

Law: all records of all groups, again and again, `SCRUB_BYTES` each `SCRUB_SECONDS` at most, in a thread and in short
reads. What it finds is handled as if a client had met it.
"""

from __future__ import annotations

import trio

from cluster.node.core import Core
from cluster.raft.runtime.beat import next_beat
from cluster.raft.storage import Storage, StorageCorrupt
from cluster.raft.types import GroupId

SCRUB_SECONDS = 0.25
SCRUB_BYTES = 256 << 10
"""Read each `SCRUB_SECONDS`; at least one record."""
PASS_SECONDS_MIN = 5.0
"""Of a pass over all records, however few there are."""


async def scrub(core: Core, storage: Storage) -> None:
    """Until cancelled."""
    while True:
        pass_ends_at = trio.current_time() + PASS_SECONDS_MIN
        for group in sorted(core.runtime.groups):
            await _read_through(core, storage, group)
        await trio.sleep_until(pass_ends_at)


async def _read_through(core: Core, storage: Storage, group: GroupId) -> None:
    cursor: bytes | None = b""
    while cursor is not None and group in core.runtime.groups:
        await next_beat(SCRUB_SECONDS)
        try:
            cursor = await trio.to_thread.run_sync(storage.group(group).check, cursor, SCRUB_BYTES)
        except StorageCorrupt as error:
            core.damaged(group, error)
            return
