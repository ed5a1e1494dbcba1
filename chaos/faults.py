"""One fault after the other on a local cluster: strike the leader of a queue, make it whole, wait until all is well.

    kill  SIGKILL to the leader, started again         stop  SIGSTOP, SIGCONT
    term  SIGTERM, started again                       all   SIGKILL to all nodes, started in a random order
    move  no node dies: leaders hand over, again and again
    twice SIGKILL to the leader and, while its successor is elected, to another node; both started again
    any   one of these, each time another

Law: the next fault waits until the cluster calls itself healthy. Every wait has a deadline, after which the campaign
fails.
"""

from __future__ import annotations

import random
import signal
import time
from typing import Literal, assert_never

from chaos.ledger import Fault
from chaos.load import RemoteLoad
from chaos.local_cluster import LocalCluster, wait_until
from chaos.look import ask, hand_over, is_healthy, leaders

Kind = Literal["kill", "stop", "term", "all", "move", "twice"]
KINDS: tuple[Kind, ...] = ("kill", "stop", "term", "all", "move", "twice")
MODES = (*KINDS, "any")

HEALTHY_SECONDS = 60.0
"""How long a cluster may take until it calls itself healthy after a fault."""
OUTAGE_SECONDS: dict[Kind, tuple[float, float]] = {
    "kill": (0.5, 2.0),
    "stop": (2.0, 8.0),
    "term": (0.0, 1.0),
    "all": (0.0, 0.5),
    "move": (0.0, 0.0),
    "twice": (0.0, 1.0),
}
"""How long a node stays down, from..to, before it is started again or goes on."""
CALM_SECONDS = (1.0, 6.0)
"""From the end of one fault to the next, from..to; leaders return to their places meanwhile or not."""
MOVES = 8
"""Handovers of one `move`."""


class Campaign:
    """Faults of one mode, one after the other. `number` counts them."""

    def __init__(self, cluster: LocalCluster, load: RemoteLoad, mode: str, rng: random.Random) -> None:
        self.number = 0
        self._cluster = cluster
        self._load = load
        self._kinds = KINDS if mode == "any" else tuple([kind for kind in KINDS if kind == mode])
        self._random = rng

    def strike(self, queues: list[str]) -> str:
        """One fault on the leader of one of `queues`, up to its end. Returns a line about it."""
        cluster = self._cluster
        queue, kind = self._random.choice(queues), self._random.choice(self._kinds)
        led: dict[str, str] = {}

        def is_led() -> bool:
            led.update(leaders(cluster))
            return bool(led.get(queue))

        wait_until(is_led, f"{queue} has a leader")
        names = [node.name for node in cluster.nodes]
        leader = names.index(led[queue])
        nodes = self._victims(kind, leader)
        struck = tuple([q for q in queues if kind == "move" or led.get(q) in [names[node] for node in nodes]])
        began = time.monotonic()
        # Told before it happens: what the clients see of it comes after.
        self._load.fault_begins(Fault(self.number, kind, nodes, struck, began))
        self._break(kind, nodes, queues)
        time.sleep(self._random.uniform(*OUTAGE_SECONDS[kind]))
        down = time.monotonic() - began
        self._mend(kind, nodes)
        cluster.wait_ready()
        wait_until(lambda: is_healthy(cluster), f"healthy after {kind} {self.number}", HEALTHY_SECONDS)
        well = time.monotonic() - began
        self._load.fault_is_over(self.number)
        gap = self._load.gap(self.number)
        self.number += 1
        what = f"{self.number:3} {kind} {', '.join([names[node] for node in nodes])} (led {', '.join(struck)})"
        return f"{what}: confirms paused {gap:.3f} s, down {down:.1f} s, healthy after {well:.1f} s"

    def _victims(self, kind: Kind, leader: int) -> tuple[int, ...]:
        """In the order in which they are struck."""
        nodes = range(len(self._cluster.nodes))
        match kind:
            case "kill" | "stop" | "term":
                return (leader,)
            case "all":
                return tuple(nodes)
            case "twice":
                return (leader, self._random.choice([node for node in nodes if node != leader]))
            case "move":
                return ()
            case _:
                assert_never(kind)

    def _break(self, kind: Kind, nodes: tuple[int, ...], queues: list[str]) -> None:
        cluster = self._cluster
        match kind:
            case "kill" | "all":
                self._kill(nodes)
            case "stop":
                cluster.freeze(nodes[0])
            case "term":
                cluster.terminate(nodes[0])
            case "move":
                self._move(queues)
            case "twice":
                self._kill(nodes[:1])
                # By now an election has begun, is over, or has made the second one a leader.
                time.sleep(self._random.uniform(0.0, 0.3))
                self._kill(nodes[1:])
            case _:
                assert_never(kind)

    def _kill(self, nodes: tuple[int, ...]) -> None:
        """All at once."""
        for child in [self._cluster.children[node] for node in nodes]:
            assert child is not None
            child.send(signal.SIGKILL)
        for node in nodes:
            self._cluster.kill(node)

    def _move(self, queues: list[str]) -> None:
        groups = [row["group"] for row in ask(self._cluster, "/api/queues") or [] if row["name"] in queues]
        for _ in range(MOVES):
            hand_over(self._cluster, self._random.choice(groups), self._random.choice(self._cluster.nodes).name)
            time.sleep(self._random.uniform(0.0, 0.5))

    def _mend(self, kind: Kind, nodes: tuple[int, ...]) -> None:
        if kind == "stop":
            self._cluster.thaw(nodes[0])
            return
        for node in self._random.sample(nodes, len(nodes)):
            self._cluster.start(node)

    def calm(self) -> None:
        """Let the cluster be for a while."""
        time.sleep(self._random.uniform(*CALM_SECONDS))
