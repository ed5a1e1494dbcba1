"""Runs a simulated cluster through bad weather, many times over: `python -m tests.raft.simulate --seeds N`.

Law: a seed decides everything. After the weather every fault is healed, and within a bounded time the group
must again have one leader, commit, answer reads, and bring every member to the same state. A seed that fails
is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Literal, get_args

from cluster.raft.group import RaftConfig
from cluster.raft.membership import all_members
from cluster.raft.types import Configuration, NodeId
from tests.raft.world import TICK, Member, Weather, World

STORM_TICKS = 220
CALM_TICKS = 400

Kind = Literal["common", "damage", "turnover", "full"]
"""Of storms. damage: logs rot as well, one at a time, and members are not changed. turnover: leaders go while a change
of members that they have begun is under way, and snapshots end wherever it is. full: disks have no room for a while."""
KINDS: tuple[Kind, ...] = get_args(Kind)


def make_weather(random: Random, snapshots_passed_max: int) -> Weather:
    are_connections_watched = random.random() >= 0.3
    config = RaftConfig(
        max_append_bytes=random.choice([1, 100, 1000]),
        max_inflight_appends=random.choice([1, 2, 8]),
        max_inflight_bytes=random.choice([100, 10_000]),
        max_uncommitted_bytes=random.choice([200, 5_000]),
        max_apply_bytes=random.choice([1, 200, 10_000]),
        tail_bytes=random.choice([0, 500, 3_000, 100_000]),
        snapshot_chunk_bytes=random.choice([40, 400]),
        retention_ticks=40,
        snapshots_passed_max=snapshots_passed_max,
    )
    return Weather(
        loss=random.choice([0, 0, 0.02, 0.1, 0.3]),
        duplication=random.choice([0, 0.02, 0.2]),
        delay_max=random.choice([2, 10, 30, 60]),
        disk_max=random.choice([1, 10, 40]),
        tells_disconnects=are_connections_watched and random.random() < 0.7,
        crash_keeps_write=random.choice([0, 0.5]),
        config=config,
    )


class Storm:
    """Clients and faults, each a process of its own in virtual time, until the storm is over."""

    def __init__(self, seed: int, kind: Kind = "common") -> None:
        self.random = Random(seed)
        nodes = self.random.randint(3, 5)
        founders = self.random.randint(min(3, nodes), nodes) if self.random.random() < 0.9 else 1
        voters = tuple(NodeId(node) for node in range(1, founders + 1))
        # Drawn apart: seeds that found something keep their weather.
        passed_max = 0 if kind == "turnover" else Random(f"patience {seed}").choice([0, 0, 1, 3])
        weather = make_weather(self.random, passed_max)
        self.world = World(self.random.randrange(1 << 60), nodes, Configuration(voters), weather)
        self.end = STORM_TICKS * TICK
        self._repeat(12, self._client)
        self._repeat(self.random.choice([TICK // 2, TICK * 3]), self._reader)
        for mean_ticks, fault in (
            (self.random.choice([20, 40]), self._partition),
            (45, self._crash),
            (self.random.choice([12, 60]), self._damage if kind == "damage" else self._change_members),
            (60, self._transfer),
            (90, self._step_down),
            (90, self._campaign),
            (self.random.choice([15, 50]), self._flap),
            (self.random.choice([10, 50]), self._snapshot),
        ):
            if self.random.random() < 0.7:
                self._repeat(mean_ticks * TICK, fault)
        if kind == "turnover":
            self._repeat(15 * TICK, self._turn_over)
            self._repeat(5 * TICK, self._snapshot_all)

        if kind == "full":
            self.world.is_short = True
            self._repeat(12 * TICK, self._fill)

    def _repeat(self, mean: int, act: Callable[[], None]) -> None:
        def again() -> None:
            if self.world.now < self.end:
                act()
                self.world.after(self.random.randint(1, 2 * mean), again)

        self.world.after(self.random.randint(1, 2 * mean), again)

    def _any(self) -> Member:
        return self.random.choice(list(self.world.members.values()))

    def _leader_or_any(self) -> Member:
        leaders = self.world.leaders()
        return self.random.choice(leaders) if leaders else self._any()

    # -- clients

    def _client(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.world.propose(self._leader_or_any())

    def _reader(self) -> None:
        """Ask every member that takes itself for the leader, and anyone."""
        for member in self.world.leaders():
            self.world.read(member)
        self.world.read(self._any())

    def _snapshot(self) -> None:
        self.world.snapshot(self._any())

    # -- faults

    def _partition(self) -> None:
        nodes = list(self.world.members)
        kind = self.random.randrange(4)
        cut: set[tuple[NodeId, NodeId]] = set()
        if kind == 0:
            side = {node for node in nodes if self.random.random() < 0.5}
            cut = {(a, b) for a in nodes for b in nodes if (a in side) != (b in side)}
        elif kind == 1:
            victim = self._leader_or_any().node
            cut = {(a, b) for a in nodes for b in nodes if a != b and victim in (a, b)}
        elif kind == 2:
            cut = {(a, b) for a in nodes for b in nodes if a != b and self.random.random() < 0.3}
        self.world.set_cut(cut)
        self.world.after(self.random.randint(TICK, 40 * TICK), lambda: self.world.set_cut(set()))

    def _crash(self) -> None:
        count = self.random.choice([1, 1, 1, 2, len(self.world.members)])
        for _ in range(count):
            member = self._leader_or_any() if self.random.random() < 0.5 else self._any()
            self.world.crash(member.node)
            self.world.after(self.random.randint(1, 30 * TICK), partial(self.world.start, member.node))

    def _change_members(self) -> None:
        target = self._some_members()
        self.world.act(self._leader_or_any(), lambda group: group.propose_configuration(target))

    def _some_members(self) -> Configuration:
        nodes = list(self.world.members)
        voters = self.random.sample(nodes, self.random.randint(1, len(nodes)))
        rest = [node for node in nodes if node not in voters]
        learners = self.random.sample(rest, self.random.randint(0, len(rest)))
        return Configuration(tuple(sorted(voters)), (), tuple(sorted(learners)))

    def _turn_over(self) -> None:
        """A leader begins to change the members, and some or all of them do not hear it any more."""
        world = self.world
        for leader in world.leaders():
            target = self._some_members()
            world.act(leader, lambda group, target=target: group.propose_configuration(target))  # type: ignore[misc]
            others = [node for node in world.members if node != leader.node]
            deaf = self.random.sample(others, self.random.randint(0, len(others)))
            pairs = {pair for node in deaf for pair in ((leader.node, node), (node, leader.node))}
            world.set_cut(world.cut | pairs)
            world.after(self.random.randint(TICK, 40 * TICK), lambda: world.set_cut(set()))

    def _snapshot_all(self) -> None:
        """Whoever has something to make one of."""
        for member in self.world.up():
            self.world.snapshot(member)

    def _damage(self) -> None:
        """Any member's, while all others are sound and another can lead."""
        world = self.world
        victim = self._leader_or_any() if self.random.random() < 0.5 else self._any()
        others = [member for member in world.members.values() if member is not victim]
        voters = victim.disk.meta.configuration.voters
        if all(member.disk.is_sound for member in others) and set(voters) - {victim.node}:
            if self.random.random() < 0.5:
                world.damage(victim.node)
            else:
                world.tear(victim.node)
                world.after(self.random.randint(1, 30 * TICK), partial(world.start, victim.node))

    def _fill(self) -> None:
        """A disk has no room for data until somebody makes some."""
        victim = self._any()
        victim.is_full = True
        self.world.after(self.random.randint(TICK, 80 * TICK), partial(setattr, victim, "is_full", False))

    def _transfer(self) -> None:
        target = self._any().node
        self.world.act(self._leader_or_any(), lambda group: group.transfer_leadership(target))

    def _step_down(self) -> None:
        self.world.act(self._leader_or_any(), lambda group: group.step_down())

    def _campaign(self) -> None:
        self.world.act(self._any(), lambda group: group.campaign())

    def _flap(self) -> None:
        """Connections break and come back although both ends live: one, or all of a leader's."""
        if not self.world.weather.tells_disconnects:
            return
        if self.random.random() < 0.5:
            pairs = [tuple(self.random.sample(list(self.world.members), 2))]
        else:
            leader = self._leader_or_any().node
            pairs = [(leader, peer) for peer in self.world.members if peer != leader]
        for node, peer in pairs:
            for first, second in ((node, peer), (peer, node)):
                self.world.tell(first, second, False, self.random.randint(0, TICK))
                self.world.tell(first, second, True, self.random.randint(TICK, 4 * TICK))

    # -- afterwards

    def run(self) -> World:
        world = self.world
        world.run_until(self.end)
        world.run_until(self.end + 45 * TICK)
        world.calm()
        for node in world.members:
            world.start(node)
        assert world.run_until(world.now + CALM_TICKS * TICK, self._has_leader), "no leader after the storm"
        world.run_until(world.now + 30 * TICK)
        proposed: dict[int, int] = {}

        def is_committed() -> bool:
            for leader in world.leaders():
                group = leader.group
                if group is not None and group.term not in proposed and world.propose(leader):
                    proposed[group.term] = group.last_index
                if group is not None and group.commit_index >= proposed.get(group.term, 1 << 60):
                    return True
            return False

        assert world.run_until(world.now + CALM_TICKS * TICK, is_committed), "nothing is committed any more"
        goal = world.checks.commit_index
        assert world.run_until(world.now + CALM_TICKS * TICK, lambda: self._is_everywhere(goal)), (
            "a member does not catch up"
        )
        answered = world.reads_answered

        def read() -> bool:
            if self.random.random() < 0.02:
                world.read(self._leader_or_any())
            return world.reads_answered > answered

        assert world.run_until(world.now + CALM_TICKS * TICK, read), "no read is answered"
        return world

    def _has_leader(self) -> bool:
        return bool(self.world.leaders())

    def _is_everywhere(self, index: int) -> bool:
        leaders = self.world.leaders()
        if not leaders or leaders[0].group is None:
            return False
        return all(
            self.world.members[node].applied_index >= index for node in all_members(leaders[0].group.configuration)
        )


def run_seed(seed: int, kind: Kind = "common") -> World:
    return Storm(seed, kind).run()


def command(seed: int, kind: Kind = "common") -> str:
    return f"python -m tests.raft.simulate --seeds 1 --first {seed} --kind {kind}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure")
    parser.add_argument("--kind", choices=KINDS, action="append", help="of storms (default: all)")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error("--seeds: what plays nothing holds nothing")
    began = time.monotonic()
    entries = reads = installs = repairs = failures = 0
    kinds: tuple[Kind, ...] = tuple(options.kind or KINDS)
    plays = [(seed, kind) for seed in range(options.first, options.first + options.seeds) for kind in kinds]
    for seed, kind in plays:
        try:
            world = run_seed(seed, kind)
        except Exception:  # noqa: BLE001 - whatever it is, the seed is told
            failures += 1
            if failures <= 3:
                traceback.print_exc()
            print(f"seed {seed} failed; repeat with: {command(seed, kind)}", flush=True)
            if not options.keep_going:
                return 1
            continue
        entries += world.checks.commit_index
        reads += world.reads_answered
        installs += world.snapshots_installed
        repairs += world.repairs
    print(
        f"{len(plays)} storms, {failures} failed: {entries} entries committed, {reads} reads answered, "
        f"{installs} snapshots installed, {repairs} logs repaired, {time.monotonic() - began:.1f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
