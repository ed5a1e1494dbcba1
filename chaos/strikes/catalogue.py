"""Every fault by name, and which of them go together.

Law: a fault that this machine cannot have is never chosen, and is named with the reason.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from chaos.strikes import damage, disks, members, networks, processes, storms
from chaos.strikes.strike import Field, Strike

FAULTS: dict[str, type[Strike]] = {
    "kill-leader": processes.KillLeader,
    "kill-one": processes.KillOne,
    "kill-twice": processes.KillTwice,
    "kill-majority": processes.KillMajority,
    "kill-all": processes.KillAll,
    "restart": processes.Restart,
    "upgrade": processes.Upgrade,
    "stop": processes.Stop,
    "move": processes.Move,
    "partition": networks.Partition,
    "split": networks.Split,
    "one-way": networks.OneWay,
    "ring": networks.Ring,
    "flapping": networks.Flapping,
    "new-address": networks.NewAddress,
    "loss": networks.Loss,
    "latency": networks.Latency,
    "disk-stall": disks.DiskStall,
    "disk-slow": disks.DiskSlow,
    "disk-error": disks.DiskError,
    "disk-full": disks.DiskFull,
    "power-one": disks.PowerOne,
    "power-two": disks.PowerTwo,
    "power-all": disks.PowerAll,
    "clock": disks.Clock,
    "memory": disks.Memory,
    "bit-flip": damage.BitFlip,
    "cut-file": members.CutFile,
    "lost-volume": members.LostVolume,
    "leave": members.Leave,
    "storm": storms.Storm,
}
NODES = 3
TOGETHER_SHARE = 0.3
"""How often two faults overlap."""


def meaning(name: str) -> str:
    """What a fault is, in a line."""
    return (FAULTS[name].__doc__ or "").split("\n\n", maxsplit=1)[0].replace("\n", " ")


def unavailable(names: Sequence[str], missing: dict[str, str]) -> dict[str, str]:
    """Of these faults those that this machine cannot have -> why."""
    reasons = {name: [missing[need] for need in FAULTS[name].needs if missing[need]] for name in names}
    return {name: "; ".join(dict.fromkeys(why)) for name, why in reasons.items() if why}


def needs(names: Sequence[str]) -> frozenset[str]:
    """What of the machine these faults need."""
    return frozenset(need for name in names for need in FAULTS[name].needs)


class Deck:
    """Faults in an order drawn from a seed: none comes again before all have come, but beside another one."""

    def __init__(self, names: Sequence[str], rng: random.Random) -> None:
        self._names = names
        self._random = rng
        self._left: list[str] = []

    def draw(self) -> list[str]:
        """One fault, or two that overlap: then they strike different nodes, or one of them strikes none."""
        if not self._left:
            self._left = self._random.sample(self._names, len(self._names))
        first = self._left.pop()
        chosen = [first]
        if self._random.random() < TOGETHER_SHARE:
            nodes = NODES - FAULTS[first].nodes_needed
            others = [
                name
                for name in self._names
                if name != first and FAULTS[name].nodes_needed <= nodes and not (_waits(name) or _waits(first))
            ]
            if others:
                chosen.append(self._random.choice(others))
        return chosen


def _waits(name: str) -> bool:
    """Does it wait in its middle for a node to end in order, and so needs peace?"""
    return issubclass(FAULTS[name], processes.Restart)


def make(name: str, ground: Field) -> Strike:
    return FAULTS[name](ground)
