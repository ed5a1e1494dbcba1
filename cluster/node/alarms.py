"""Watches memory and disk, and blocks publishers while either is short.

Law: publishers are blocked, consumers never. The reason is RabbitMQ's text. An alarm ends only when there is a little
more room than what raised it. Publishers are blocked while the store still has room: what consumers settle goes
through the log too, and only that gives space back. The store's file never shrinks, so its free pages count as room.
While the disk is short, no log is kept for nodes that are away.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import trio

from cluster.node.amqp.broker import Broker
from cluster.node.config import NodeConfig
from cluster.node.core import Core
from cluster.node.logging import get_logger
from cluster.raft.runtime.beat import next_beat
from cluster.store.lmdb_store import LmdbStore
from cluster.store.statistics import StoreStatistics

LOOK_SECONDS = 0.25
LOW_MEMORY = "low on memory"
LOW_DISK = "low on disk"
ALARM_NAMES = {LOW_MEMORY: "memory", LOW_DISK: "disk"}
"""What reports and metrics call the alarm that clients are told of in these words."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Anonymous and shared memory of this process, without file pages (the store's map is the kernel's cache)."""
    resident, file_backed = _pages()
    return (resident - file_backed) * _PAGE


def process_bytes() -> int:
    """Everything resident."""
    return _pages()[0] * _PAGE


def _pages() -> tuple[int, int]:
    """Resident pages, and those of them that stand for files or are shared (proc(5), statm)."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]), int(fields[2])


def shortage(store: StoreStatistics, disk_free_bytes: int, free_min: int, room_share: float) -> str:
    """What the disk or the store's largest size leaves, where that is less than is kept for consumers; else "".

    `room_share` of the room is counted: 1.0, or less for an alarm to end only with more room than raised it.
    """
    on_disk = disk_free_bytes + store.free_pages * store.page_size
    in_store = store.map_size_max - store.used_bytes
    kept = min(max(free_min, store.map_size_max // 8), store.map_size_max // 4)
    if on_disk * room_share < free_min:
        return f"{on_disk} bytes left on the disk, limits.disk_free_min is {free_min}"
    if in_store * room_share < kept:
        return f"{in_store} bytes left of limits.store_size_max ({store.map_size_max}), {kept} are kept for consumers"
    return ""


async def watch_resources(config: NodeConfig, broker: Broker, core: Core, store: LmdbStore) -> None:
    """Until cancelled."""
    log = get_logger("alarms")
    watermark = config.memory_watermark_bytes()
    free_min = config.limits.disk_free_min
    full = False

    def storage_full(is_full: bool) -> None:
        nonlocal full
        full = is_full
        look()

    def look() -> None:
        room = 1.0 if not broker.alarm else 0.95
        reason, resident = "", resident_bytes()
        why = shortage(store.statistics(), shutil.disk_usage(config.data_dir).free, free_min, room)
        if full or why:
            reason = LOW_DISK
        elif resident > watermark * room:
            reason, why = LOW_MEMORY, f"{resident} bytes in memory, the watermark is {watermark}"
        if reason != broker.alarm:
            log.warning("alarm", reason=reason or "over", publishers="blocked" if reason else "unblocked", why=why)
            broker.set_alarm(reason)
            core.runtime.is_short = reason == LOW_DISK
        if reason == LOW_MEMORY:
            broker.short_of_memory(trio.current_time())

    core.on_storage_full = storage_full
    while True:
        store.keep_reserve()
        look()
        await next_beat(LOOK_SECONDS)
