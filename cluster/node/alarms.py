"""Watches memory and disk, and blocks publishers while either is short.

Law: publishers are blocked, consumers never. The reason is RabbitMQ's text. An alarm ends only when there is a little
more room than what raised it. Publishers are blocked while the store still has room: what consumers settle goes
through the log too, and only that gives space back. The store's file never shrinks, so its free pages count as room.
While the disk is short, no log is kept for nodes that are away. One node that is short blocks its own publishers; once
a group cannot commit without such a node, all do: what is published would fill that node up, to the last of what it
keeps for consumers. And when such a node refuses what was under way, it stores more than it may (`Space`): consumers'
acks come behind that. What may be under way is a share of what the smallest store of all members keeps, also of a
member that is away.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import trio

from cluster.node.amqp.broker import Broker
from cluster.node.config import NodeConfig
from cluster.node.core import Core
from cluster.node.logging import get_logger
from cluster.raft.runtime.beat import next_beat
from cluster.raft.types import NOBODY, NodeId
from cluster.store.lmdb_store import LmdbStore
from cluster.store.statistics import StoreStatistics

BEAT_SECONDS = 0.05
LOOK_BEATS = 5
"""There is a look in every so many beats,"""
LOOK_SHARE = 16
"""and in one in which as much was written as one in so many parts of the room that is kept for consumers."""
UNCONFIRMED_SHARE = 8
"""One in so many parts of the room that is kept for consumers where that is least, on all nodes, is what clients of one
node may have under way, and what a message may bring."""
UNCONFIRMED_NODES = 3
"""Where there are more nodes, the shares of so many are divided among them."""
REFUSING_SECONDS = 5.0
"""A store that refuses what groups cannot commit without it is a last resort after that time."""
QUIET_SECONDS = 5.0
"""A store is full until it has refused nothing for that time: what it refused may have been given up by a replica that
votes or that follows somebody else now, and be on its way again."""
LOW_MEMORY = "low on memory"
LOW_DISK = "low on disk"
ALARM_NAMES = {LOW_MEMORY: "memory", LOW_DISK: "disk"}
"""What reports and metrics call the alarm that clients are told of in these words."""
DISK_OF_OTHERS = "disk-of-others"
"""What they call it where it is not this node's disk that is low."""
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


def kept_bytes(map_size_max: int, free_min: int) -> int:
    """What of the store's largest size publishers leave to consumers."""
    return min(max(free_min, map_size_max // 8), map_size_max // 4)


def unconfirmed_bytes(kept: int, node_count: int) -> int:
    """What clients of one of so many nodes may have under way, if so many bytes are kept for consumers on all."""
    return kept * UNCONFIRMED_NODES // (UNCONFIRMED_SHARE * max(UNCONFIRMED_NODES, node_count))


def shortage(store: StoreStatistics, disk_free_bytes: int, free_min: int, room_share: float) -> str:
    """What the disk or the store's largest size leaves, where that is less than is kept for consumers; else "".

    `room_share` of the room is counted: 1.0, or less for an alarm to end only with more room than raised it.
    """
    on_disk = disk_free_bytes + store.free_pages * store.page_size
    in_store = max(0, store.map_size_max - store.used_bytes)
    kept = kept_bytes(store.map_size_max, free_min)
    if on_disk * room_share < free_min:
        return f"{on_disk} bytes left on the disk, limits.disk_free_min is {free_min}"
    # Not all that is kept: a store may be short of room in one piece with less in it than that.
    loose_bytes = store.tight_bytes - min(kept, store.tight_bytes // 2)
    if store.tight_bytes and store.used_bytes > loose_bytes and disk_free_bytes < kept:
        used = f"{store.used_bytes} bytes of limits.store_size_max ({store.map_size_max})"
        return f"{used} are used, and no room was left in one piece"
    if in_store * room_share < kept:
        return f"{in_store} bytes left of limits.store_size_max ({store.map_size_max}), {kept} are kept for consumers"
    return ""


def has_room_for_letters(store: StoreStatistics, disk_free_bytes: int, free_min: int) -> bool:
    """Is there half of what is kept for consumers, for dead letters to take some of it?"""
    on_disk = disk_free_bytes + store.free_pages * store.page_size
    in_store = store.map_size_max - store.used_bytes
    return 2 * on_disk >= free_min and 2 * in_store >= kept_bytes(store.map_size_max, free_min)


def is_held_up(groups: Iterable[Sequence[NodeId]], up: Container[int], short: Container[NodeId]) -> bool:
    """Is there a group, given its voters, that cannot commit without one of those of its voters that are `short`?

    `up` are the nodes that can be reached, and this one.
    """
    for voters in groups:
        able = [node for node in voters if node in up and node not in short]
        if len(able) <= len(voters) // 2 and any(node in up and node in short for node in voters):
            return True
    return False


class Refusals:
    """Of one store. Times are seconds of one clock, given by the caller."""

    def __init__(self) -> None:
        self._is_refusing = False
        """Does something wait that was refused?"""
        self._quiet_at = -math.inf
        self._in_the_way_since = math.inf

    def told(self, now: float, *, is_full: bool) -> None:
        """By whoever writes to the store."""
        if self._is_refusing:
            self._quiet_at = now + QUIET_SECONDS
        self._is_refusing = is_full

    def is_full(self, now: float) -> bool:
        return self._is_refusing or now < self._quiet_at

    def needs_last_resort(self, now: float, *, holds_up: bool) -> bool:
        """Has it refused for too long what groups cannot commit without it? To be asked at every look."""
        is_in_the_way = holds_up and self.is_full(now)
        self._in_the_way_since = min(self._in_the_way_since, now) if is_in_the_way else math.inf
        return self._is_refusing and now - self._in_the_way_since >= REFUSING_SECONDS


def alarms_of(core: Core, broker: Broker) -> tuple[str, ...]:
    """Why this node's publishers are blocked, in the words of reports."""
    if broker.alarm == LOW_DISK and core.node not in core.short_of_disk:
        return (DISK_OF_OTHERS,)
    return (ALARM_NAMES[broker.alarm],) if broker.alarm else ()


class ResourceWatch:
    """Of one node."""

    def __init__(self, config: NodeConfig, broker: Broker, core: Core, store: LmdbStore) -> None:
        self._config = config
        self._broker = broker
        self._core = core
        self._store = store
        self._log = get_logger("alarms")
        self._watermark = config.memory_watermark_bytes()
        self._refusals = Refusals()
        self._own = ""
        """The alarm of this node's own."""
        self._narrowest = NOBODY
        """The member whose store is too small for messages of the configured size; NOBODY if none is."""
        self._admit()

    async def run(self) -> None:
        """Until cancelled."""
        self._core.on_storage_full = self._storage_full
        look_bytes = self._kept_bytes() // LOOK_SHARE
        beat, seen_bytes = 0, 0
        while True:
            written_bytes = self._core.runtime.bytes_written
            is_due = beat % LOOK_BEATS == 0 or written_bytes - seen_bytes >= look_bytes
            if is_due or (self._store.space.tight_bytes and not self._own):
                seen_bytes = written_bytes
                self._store.space.look()
                self._look()
            beat += 1
            await next_beat(BEAT_SECONDS)

    def _storage_full(self, is_full: bool) -> None:
        self._refusals.told(trio.current_time(), is_full=is_full)
        self._look()

    def _kept_bytes(self) -> int:
        return kept_bytes(self._store.statistics().map_size_max, self._config.limits.disk_free_min)

    def _admit(self) -> None:
        """As much under way as has room, when publishers are blocked, in the store of every member."""
        broker, core = self._broker, self._core
        core.kept_bytes.announce(self._kept_bytes())
        kept_bytes, node = core.kept_bytes.least(core.members.has_left)
        size_max = unconfirmed_bytes(kept_bytes, len(core.members.by_id))
        configured_max = self._config.amqp.message_size_max
        is_narrow = size_max < configured_max
        if is_narrow and (node != self._narrowest or size_max < broker.unconfirmed.size_max):
            whose = "the store" if node == core.node else f"the store of {core.members.name_of(node)}"
            self._log.warning(f"{whose} is too small for larger messages than this", bytes=size_max)
        self._narrowest = node if is_narrow else NOBODY
        before, broker.unconfirmed.size_max = broker.unconfirmed.size_max, size_max
        if min(size_max, configured_max) != min(before, configured_max):
            for connection in broker.connections.values():
                connection.limit_messages()

    def _look(self) -> None:
        broker, core = self._broker, self._core
        self._admit()
        self._own, why = self._judge()
        self._hold_letters()
        if (self._own == LOW_DISK) is not (core.node in core.short_of_disk):
            core.short_of_disk.announce(self._own == LOW_DISK)
            core.runtime.is_short = self._own == LOW_DISK
        holds_up = is_held_up(core.members.placement.values(), core.reachable(), core.short_of_disk)
        self._consider_last_resort(holds_up=holds_up)
        reason = self._own
        if not reason and holds_up:
            reason, why = LOW_DISK, "too few other nodes have room"
        if reason != broker.alarm:
            self._log.warning(
                "alarm", reason=reason or "over", publishers="blocked" if reason else "unblocked", why=why
            )
            broker.set_alarm(reason)
        if self._own == LOW_MEMORY:
            broker.short_of_memory(trio.current_time())

    def _hold_letters(self) -> None:
        """Or not any more."""
        disk_free, free_min = shutil.disk_usage(self._config.data_dir).free, self._config.limits.disk_free_min
        has_room = self._own != LOW_DISK or (
            not self._refusals.is_full(trio.current_time())
            and has_room_for_letters(self._store.statistics(), disk_free, free_min)
        )
        view = self._core.view
        if has_room is not view.has_room:
            view.has_room = has_room
            self._core.leaders_go_on()

    def _consider_last_resort(self, *, holds_up: bool) -> None:
        """Once taken, it holds until the disk is not short any more."""
        space = self._store.space
        is_needed = self._refusals.needs_last_resort(trio.current_time(), holds_up=holds_up)
        if self._own != LOW_DISK:
            space.is_last_resort = False
        elif is_needed and not space.is_last_resort:
            space.is_last_resort = True
            self._log.warning("the store takes more than it may: consumers' acks are behind it")

    def _judge(self) -> tuple[str, str]:
        """What this node is short of, as clients are told, and the figures; "" if of nothing."""
        room = 0.95 if self._own else 1.0
        disk_free = shutil.disk_usage(self._config.data_dir).free
        store, free_min = self._store.statistics(), self._config.limits.disk_free_min
        why = shortage(store, disk_free, free_min, room)
        if self._refusals.is_full(trio.current_time()) or why:
            return LOW_DISK, why or "a write was refused for want of room"
        self._store.space.tight_bytes = 0
        resident = resident_bytes()
        if resident > self._watermark * room:
            return LOW_MEMORY, f"{resident} bytes in memory, the watermark is {self._watermark}"
        return "", ""
