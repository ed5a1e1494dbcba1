"""What goes wrong, and when.

Law: a seed picks the kinds of fault of its world, so that one without disturbed links is strict about redeliveries.
Everything that was broken is mended by `mend`, whatever was under way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import trio

from cluster.node.balance import hand_over
from cluster.raft.group import Role
from cluster.raft.types import GroupId, NodeId
from cluster.store.chunk import log_key

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

_ENDS_SECONDS = 1.0
"""A node whose disk has failed is gone by then."""
_TORN_SHARE = 0.2
"""Of the worlds whose disks may rot."""
_PAUSE_SECONDS = 1.0
_LATE_SECONDS, _CALLS = 4.0, 8
"""Of a latecomer: what it hears late, and how often shards are to be handed to it."""


HARMLESS = ("crash", "power_cut", "move_leader", "slow_disk", "stop", "disk_error", "stalled_disk", "clock")
"""Kinds that leave the links between living nodes alone."""
HARMFUL = ("pause", "reset", "stall", "isolate", "flap", "full_disk", "slow_link", "seclude", "latecomer")
ROT, TORN = "rot", "torn"
"""Not where members come and go."""
PART = "part"
"""Only where it is asked for."""
KINDS = (*HARMLESS, *HARMFUL, ROT, TORN, PART)


class Faults:
    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"faults {world.seed}")
        harmless = [*HARMLESS, ROT] if world.rots else [*HARMLESS]
        self._rotten = self._random.choice(world.nodes)
        """The only node whose disk rots or tears: what two of three have lost is lost."""
        self.kinds = self._random.sample(harmless, self._random.randint(1, 3))
        if self._random.random() < 0.7:
            self.kinds += self._random.sample(HARMFUL, self._random.randint(1, 4))
        if world.rots and Random(f"torn {world.seed}").random() < _TORN_SHARE:
            self.kinds.append(TORN)
        if world.kinds:
            possible = (*harmless, *HARMFUL, *([TORN] if world.rots else []), PART)
            self.kinds = [kind for kind in possible if kind in world.kinds]
            assert self.kinds, f"none of {', '.join(world.kinds)} comes to this world"
        strikes: list[Callable[[], None]] = [getattr(self, f"_{kind}") for kind in self.kinds]
        self._strikes = strikes
        if self._random.random() < 0.3:
            world.network.drops = 0.02
        self._disk_seconds = self._random.choice((0.001, 0.002, 0.01, 0.03))
        for disk in world.disks.values():
            disk.latency_seconds = self._disk_seconds
        for way in world.network.ways.values():
            way.delay_seconds = self._random.choice((0.0005, 0.001, 0.01, 0.03))
        self._mends: dict[int, Callable[[], None]] = {}
        self._number = 0
        self._long_until = 0.0
        self._over = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(self._random.expovariate(1.2))
            self._random.choice(self._strikes)()

    def mend(self) -> None:
        """Everything works again, for good."""
        self._over = True
        self._world.network.drops = 0.0
        for mend in list(self._mends.values()):
            mend()

    def _for(
        self,
        seconds: float,
        mend: Callable[[], None],
        *,
        links: bool,
        nodes: tuple[int, ...] = (),
        clocks: tuple[int, ...] = (),
    ) -> None:
        """`mend` runs once, after `seconds` or with everything else. Clients of `nodes` are disturbed, those of all
        nodes if `links` are."""
        oracle, chronicle = self._world.oracle, self._world.chronicle
        self._number += 1
        number = self._number
        calms = [oracle.everything, oracle.links] if links else [oracle.everything]
        for calm in calms:
            calm.begin()
        chronicle.fault_begins(number, tuple(self._world.nodes) if links else nodes, clocks)

        def once() -> None:
            if self._mends.pop(number, None) is not None:
                mend()
                for calm in calms:
                    calm.end()
                chronicle.fault_is_over(number)

        self._mends[number] = once
        self._world.agenda.after(seconds, once)

    # ---- kinds

    def _crash(self) -> None:
        node = self._random.choice(self._world.nodes)
        if node in self._world.processes:
            self._kill(node, self._random.choice((0.01, 0.3, 1.0, 6.0)) * self._random.random())

    def _power_cut(self) -> None:
        nodes = self._random.sample(self._world.nodes, self._random.choice((2, 3)))
        for node in [n for n in nodes if n in self._world.processes]:
            self._kill(node, self._random.choice((0.01, 0.5, 2.0, 10.0)) * self._random.random())

    def _kill(self, node: int, seconds: float) -> None:
        self._world.kill(node)
        self._for(seconds, lambda: self._world.start(node), links=False, nodes=(node,))

    def _stop(self) -> None:
        world = self._world
        node = self._random.choice(world.nodes)
        process = world.processes.get(node)
        if process is None or not process.serving or process.paused:
            return
        world.stop(node)

        def mend() -> None:
            if world.processes.get(node) is process:
                world.kill(node)
                world.start(node)
            elif process.has_left:
                world.start(node)

        self._for(self._random.choice((0.5, 3.0, 8.0)) * self._random.random(), mend, links=False, nodes=(node,))

    def _rot(self) -> None:
        """One stored entry can be read no more."""
        world = self._world
        group = GroupId(self._random.randrange(world.charter.shards + 1))
        disk = world.disks[self._rotten]
        indexes = list(disk.store.group(group).contents.log)
        if indexes:
            index = self._random.choice(indexes)
            world.note(f"entry {index} of group {group} rots on node {self._rotten}")
            disk.damage(group, log_key(index))

    def _torn(self) -> None:
        """The power of a node fails whose device had called its last write done too early."""
        world, node = self._world, self._rotten
        if node in world.processes:
            self._kill(node, self._random.choice((0.01, 0.3, 3.0)) * self._random.random())
            world.note(f"{world.disks[node].tear()} records on node {node} are torn")

    def _disk_error(self) -> None:
        """Until it is mended every write fails. The node has to end by itself, and comes back on a sound disk."""
        world = self._world
        node = self._random.choice(world.nodes)
        disk, process = world.disks[node], world.processes.get(node)
        if disk.broken or process is None:
            return
        world.note(f"disk {node} reports errors")
        disk.broken = True

        def mend() -> None:
            disk.broken = False
            if node not in world.processes:
                world.start(node)
            elif disk.errors:
                failed = world.processes[node]
                world.agenda.after(_ENDS_SECONDS, lambda: ended(failed))

        def ended(failed: Process) -> None:
            process = world.processes.get(node)
            if process is None:
                world.start(node)
            elif process is failed and process.paused:
                world.agenda.after(_ENDS_SECONDS, lambda: ended(failed))
            else:
                assert process is not failed, f"node {node} goes on although its disk failed {disk.errors} times"

        self._for(self._random.uniform(0.2, 4), mend, links=False, nodes=(node,))

    def _stalled_disk(self) -> None:
        node = self._random.choice(self._world.nodes)
        disk = self._world.disks[node]
        self._world.note(f"disk {node} stalls")
        disk.stalled = True
        self._for(self._random.choice((0.5, 3.0, 12.0)) * self._random.random(), disk.go_on, links=False, nodes=(node,))

    def _clock(self) -> None:
        """A wall clock jumps, and back."""
        node = self._random.choice(self._world.nodes)
        skews = self._world.skews_ms
        self._world.clocks_differ = True
        skews[node] = self._random.choice((-3_600_000, -5_000, -300, 300, 5_000, 3_600_000))
        self._world.note(f"the clock of node {node} is off by {skews[node]} ms")

        def mend() -> None:
            skews[node] = 0

        self._for(self._random.uniform(0.5, 5), mend, links=False, clocks=(node,))

    def _slow_link(self) -> None:
        way = self._random.choice(list(self._world.network.ways))
        self._slow(way, self._random.choice((0.1, 0.4, 1.0)), self._random.uniform(0.5, 5))

    def _slow(self, way: tuple[int, int], delay_seconds: float, seconds: float) -> None:
        self._world.note(f"{way} takes {delay_seconds} s")
        slow, before = self._world.network.ways[way], self._world.network.ways[way].delay_seconds
        slow.delay_seconds = delay_seconds

        def mend() -> None:
            slow.delay_seconds = min(before, slow.delay_seconds)
            # What was sent before is on its way still, and all that comes after it has to wait.
            self._for(delay_seconds, lambda: None, links=True)

        self._for(seconds, mend, links=True)

    def _pause(self) -> None:
        node = self._random.choice(self._world.nodes)
        process = self._world.processes.get(node)
        if process is not None and not process.paused:
            self._world.pause(node)
            seconds = self._random.choice((0.3, 2.0, 8.0)) * self._random.random()
            self._for(seconds, lambda: self._world.resume(process), links=True)

    def _reset(self) -> None:
        a, b = self._random.sample(self._world.nodes, 2)
        self._world.note(f"link {a}-{b} is reset")
        self._world.network.reset(a, b)
        self._for(0.5, lambda: None, links=True)

    def _part(self) -> None:
        """One end gives a link up; nothing passes, so that the other does not hear of that soon."""
        a, b = self._random.sample(self._world.nodes, 2)
        self._world.note(f"node {a} gives the link to node {b} up")
        self._world.network.part(a, b)
        self._cut([(a, b), (b, a)], self._random.choice((0.3, 2.0)) * self._random.random())

    def _flap(self) -> None:
        a, b = self._random.sample(self._world.nodes, 2)
        self._world.note(f"link {a}-{b} flaps")
        for i in range(self._random.randint(2, 6)):
            self._world.agenda.after(0.4 * i, lambda: None if self._over else self._world.network.reset(a, b))
        self._for(3.0, lambda: None, links=True)

    def _stall(self) -> None:
        a, b = self._random.sample(self._world.nodes, 2)
        self._cut([(a, b)])

    def _isolate(self) -> None:
        node = self._random.choice(self._world.nodes)
        self._cut([way for way in self._world.network.ways if node in way])

    def _seclude(self) -> None:
        """A node is cut off for longer than the others wait for it."""
        node, seconds = self._random.choice(self._world.nodes), self._random.uniform(6, 10)
        if self._is_alone(seconds):
            self._cut([way for way in self._world.network.ways if node in way], seconds)

    def _is_alone(self, seconds: float) -> bool:
        """May something begin that takes long? One at a time, with a pause between: else nobody does anything."""
        now = trio.current_time()
        if now < self._long_until:
            return False
        self._long_until = now + seconds + _PAUSE_SECONDS
        return True

    def _cut(self, ways: list[tuple[int, int]], seconds: float | None = None) -> None:
        network = self._world.network
        ways = [way for way in ways if not network.ways[way].stalled]
        if not ways:
            return
        self._world.note(f"nothing passes {ways}")
        for way in ways:
            network.stall(*way)

        def mend() -> None:
            self._world.note(f"open again: {ways}")
            for way in ways:
                network.unstall(*way)

        if seconds is None:
            seconds = self._random.choice((0.3, 2.0, 12.0)) * self._random.random()
        self._for(seconds, mend, links=True)

    def _slow_disk(self) -> None:
        node = self._random.choice(self._world.nodes)
        disk = self._world.disks[node]
        self._world.note(f"disk {node} is slow")
        disk.latency_seconds = self._random.choice((0.05, 0.3, 3.0))

        def mend() -> None:
            disk.latency_seconds = self._disk_seconds

        self._for(self._random.uniform(0.2, 4), mend, links=False)

    def _full_disk(self) -> None:
        node = self._random.choice(self._world.nodes)
        disk = self._world.disks[node]
        self._world.note(f"disk {node} is full")
        disk.fill(self._random.choice((0, 1000)))
        self._for(self._random.uniform(0.2, 5), disk.empty, links=False)

    def _move_leader(self) -> None:
        group = GroupId(self._random.randrange(self._world.charter.shards + 1))
        self._move(group, self._random.choice(self._world.nodes))

    def _move(self, group: GroupId, target: int) -> None:
        for process in list(self._world.processes.values()):
            if process.core is not None and not process.paused and process.node != target:
                with suppress(KeyError):
                    if hand_over(process.core, group, NodeId(target)):
                        self._world.note(f"group {group} moves from node {process.node} to {target}")
                        self._number += 1
                        self._world.chronicle.fault_begins(self._number, ())
                        self._world.chronicle.fault_is_over(self._number)
                        return

    def _latecomer(self) -> None:
        """A node crashes and comes back, hears late of what the catalog's leader says, and shards are handed to it."""
        world = self._world
        cores = [process.core for process in world.processes.values() if process.core is not None]
        leader = next((int(core.node) for core in cores if core.catalog.role is Role.LEADER), None)
        others = [node for node in world.nodes if node in world.processes and node != leader]
        if leader is None or leader not in world.nodes or not others:
            return
        node, seconds, late = self._random.choice(others), self._random.uniform(0.3, 1.5), self._random.uniform(2, 5)
        if not self._is_alone(seconds + late):
            return
        self._kill(node, seconds)
        self._slow((leader, node), _LATE_SECONDS, seconds + late)
        for i in range(_CALLS):
            for shard in range(world.charter.shards):
                world.agenda.after(seconds + 0.2 * (i + 1), partial(self._move, GroupId(shard + 1), node))
