"""Faults of what a node stands on: its disk, its power, its clock, its memory."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from pathlib import Path

from chaos.local_cluster import wait_until
from chaos.strikes.processes import KillAll, KillMajority, KillOne
from chaos.strikes.strike import Field, Strike, Struck

MIB = 1 << 20
GATHERING_SECONDS = 0.5
"""How long a power failure waits for something to be lost."""
ENDING_SECONDS = 10.0
"""How long a node may go on after its disk reported an error."""


class DiskStall(Strike):
    """A sync does not return."""

    needs = ("shim",)
    hold_seconds = (0.5, 7.0)

    def choose(self) -> None:
        node = self.field.leader()
        self.struck = Struck((node,), (node,))

    def begin(self) -> None:
        self.field.grounds.disks[self.struck.nodes[0]].stall(stalled=True)

    def end(self) -> None:
        self.field.grounds.disks[self.struck.nodes[0]].stall(stalled=False)


class DiskSlow(Strike):
    """Each write takes up to half a second longer: the store syncs twice for one."""

    needs = ("shim",)
    hold_seconds = (3.0, 10.0)

    def choose(self) -> None:
        self.struck = Struck((self.field.leader(),))

    def begin(self) -> None:
        self.field.grounds.disks[self.struck.nodes[0]].slow(self.field.random.choice((0.01, 0.05, 0.25)))

    def end(self) -> None:
        self.field.grounds.disks[self.struck.nodes[0]].slow(0.0)


class DiskError(Strike):
    """The disk reports an I/O error: the node has to end by itself, and is started again on a good disk."""

    needs = ("shim",)
    hold_seconds = (0.0, 2.0)
    starts_nodes = True

    def choose(self) -> None:
        node = self.field.leader()
        self.struck = Struck((node,), (node,))

    def begin(self) -> None:
        node = self.struck.nodes[0]
        self.field.grounds.disks[node].fail(errno.EIO)
        wait_until(lambda: not self.field.grounds.is_running(node), f"node {node} ends", ENDING_SECONDS)

    def end(self) -> None:
        node = self.struck.nodes[0]
        self.field.grounds.disks[node].fail(0)
        self.field.grounds.kill(node)
        self.field.grounds.start(node)


def _let_writes_gather(ground: Field, nodes: Iterable[int]) -> None:
    """Some writes stand in the page cache when the power goes: their sync does not return any more."""
    disks = [ground.grounds.disks[node] for node in nodes]
    for disk in disks:
        disk.stall(stalled=True)
    deadline = time.monotonic() + GATHERING_SECONDS
    while time.monotonic() < deadline and not all(disk.has_unsynced for disk in disks):
        time.sleep(0.01)
    time.sleep(ground.random.uniform(0.0, 0.3))


def _lose_power(ground: Field, nodes: Iterable[int]) -> None:
    for node in nodes:
        disk = ground.grounds.disks[node]
        disk.stall(stalled=False)
        sectors = disk.lose_power(ground.random)
        disk.forget()
        ground.note(f"node {node} lost {sectors} sectors that were not synced")


class _Power(Strike):
    """Before one that kills nodes: they lose their power with what was not synced."""

    needs = ("shim",)

    def begin(self) -> None:
        _let_writes_gather(self.field, self.struck.down)
        super().begin()
        _lose_power(self.field, self.struck.down)


class PowerOne(_Power, KillOne):
    """A node loses its power: what was not synced may be gone from its disk, sector by sector."""


class PowerTwo(_Power, KillMajority):
    """Two of three nodes lose their power at once, and what they had not synced; the third goes on alone."""


class PowerAll(_Power, KillAll):
    """All nodes lose their power at once, and what they had not synced."""


class Clock(Strike):
    """A node's wall clock jumps, by seconds or by an hour, and jumps back in the end."""

    needs = ("shim",)
    nodes_needed = 0
    hold_seconds = (2.0, 8.0)
    _node = 0

    def choose(self) -> None:
        self._node = self.field.random.choice(self.field.nodes)
        self.struck = Struck(clocks=(self._node,))

    def begin(self) -> None:
        self.field.grounds.disks[self._node].shift_clock(self.field.random.choice((-3600, -5, -0.5, 0.5, 5, 3600)))

    def end(self) -> None:
        self.field.grounds.disks[self._node].shift_clock(0.0)


class DiskFull(Strike):
    """Something else takes the space on a node's disk, down to the last byte or nearly."""

    needs = ("volumes",)
    hold_seconds = (3.0, 10.0)

    def choose(self) -> None:
        node = self.field.leader()
        # What it cannot write it cannot be counted for.
        self.struck = Struck((node,), (node,))

    def begin(self) -> None:
        self.field.grounds.volumes[self.struck.nodes[0]].fill(self.field.random.choice((0, 0, MIB, 32 * MIB)))

    def end(self) -> None:
        self.field.grounds.volumes[self.struck.nodes[0]].relieve()


class Memory(Strike):
    """A node may have little more memory than it has: the kernel takes its file pages, or its life."""

    needs = ("memory",)
    hold_seconds = (3.0, 8.0)
    starts_nodes = True
    SPARE_BYTES = 12 * MIB

    def choose(self) -> None:
        node = self.field.leader()
        self.struck = Struck((node,), (node,))

    def begin(self) -> None:
        node = self.struck.nodes[0]
        grounds = self.field.grounds
        pid = grounds.pid(node)
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        resident = int(status.partition("RssAnon:")[2].split()[0]) * 1024
        grounds.memory[node].limit(pid, resident + self.SPARE_BYTES)

    def end(self) -> None:
        node = self.struck.nodes[0]
        self.field.grounds.memory[node].release()
        if not self.field.grounds.is_running(node):
            self.field.grounds.kill(node)
            self.field.grounds.start(node)
