"""The nodes' network: a namespace for each node, a bridge between them, and rules about who hears whom.

Law: the whole of what is wrong with the network is one value, `Weather`; making it so replaces all rules in one
transaction. The clients sit at the bridge, and always reach every node. Latency and reordering are made by a delay line
in each node's namespace, that packets from other nodes wait in. Nodes are known by their names, which a hosts file of
the run's own leads to their addresses; those may change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.machine.isolation import run
from cluster.node.dev.child import start_process

HUB = "10.77.0.254"
"""Where the clients are."""
NODES_NET = "10.77.0.0/28"
_BRIDGE = "chaos0"
_ADDRESSES_EACH = 3
"""Addresses that a node has in turn."""


def namespace(node: int) -> str:
    return f"chaos-{node}"


def missing_for_delays() -> str:
    """Why this machine cannot delay packets; empty when it can."""
    if shutil.which("iptables") is None:
        return "not installed: iptables"
    command = ["unshare", "--net", "iptables", "-A", "INPUT", "-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no NFQUEUE in this kernel: {tried.stderr.strip().splitlines()[0]}" if tried.returncode else ""


@dataclass(frozen=True, slots=True)
class Weather:
    """`cut`: (from, to) pairs of nodes whose packets are dropped. `loss_percent`: of all packets between nodes.

    `delay_ms`, `jitter_ms`: of every packet between nodes; more jitter than there is time between two packets means
    that they change places. 0 and 0: none is delayed.
    """

    cut: frozenset[tuple[int, int]] = frozenset()
    loss_percent: int = 0
    delay_ms: int = 0
    jitter_ms: int = 0

    def __or__(self, other: Weather) -> Weather:
        """Both at once."""
        return Weather(
            self.cut | other.cut,
            max(self.loss_percent, other.loss_percent),
            max(self.delay_ms, other.delay_ms),
            max(self.jitter_ms, other.jitter_ms),
        )


class Network:
    """Made in the network and mount namespaces of this process, see `isolation`."""

    def __init__(self, names: Sequence[str], hosts: Path) -> None:
        """`hosts` is a file that takes the place of /etc/hosts."""
        self._names = names
        self._nodes = range(len(names))
        self._turns = [0 for _ in names]
        self._hosts = hosts
        hosts.touch()
        self._tell_addresses()
        run("mount", "--bind", str(hosts), "/etc/hosts")
        self._lines: list[subprocess.Popen[bytes]] = []
        self._now = Weather()
        run("mkdir", "-p", "/run/netns")
        run("mount", "-t", "tmpfs", "none", "/run/netns")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", _BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{HUB}/24", "dev", _BRIDGE)
        run("ip", "link", "set", _BRIDGE, "up")
        for node in self._nodes:
            name, port = namespace(node), f"chaos{node + 1}"
            run("ip", "netns", "add", name)
            run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", port, "master", _BRIDGE, "up")
            run("ip", "-n", name, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")

    def address(self, node: int) -> str:
        """Where it is now."""
        return f"10.77.0.{node + 1 + self._turns[node] * (len(self._names) + 1)}"

    def _tell_addresses(self) -> None:
        """Lines of a fixed length, written at once: whoever reads finds all of them."""
        places = [("127.0.0.1", "localhost"), *[(self.address(node), name) for node, name in enumerate(self._names)]]
        lines = "".join([f"{address:15} {name}\n" for address, name in places])
        with self._hosts.open("r+b") as file:
            os.pwrite(file.fileno(), lines.encode(), 0)

    def move(self, node: int) -> None:
        """Give a node that is down its next address."""
        before = self.address(node)
        self._turns[node] = (self._turns[node] + 1) % _ADDRESSES_EACH
        run("ip", "-n", namespace(node), "addr", "del", f"{before}/24", "dev", "eth0")
        run("ip", "-n", namespace(node), "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
        self._tell_addresses()
        self.set(self._now)

    def enter(self, node: int) -> list[str]:
        """What to put before a command that is to run on a node."""
        return ["nsenter", f"--net=/run/netns/{namespace(node)}"]

    def set(self, weather: Weather) -> None:
        """From now on it is so, for what is under way, too."""
        rules = [f"ip saddr {self.address(a)} ip daddr {self.address(b)} drop" for a, b in sorted(weather.cut)]
        if weather.loss_percent:
            rules.append(f"numgen random mod 100 < {weather.loss_percent} drop")
        body = "\n".join(["type filter hook forward priority 0; policy accept;", *rules])
        run("nft", "-f", "-", text=f"flush ruleset\ntable bridge chaos {{\nchain forward {{\n{body}\n}}\n}}\n")
        if (weather.delay_ms, weather.jitter_ms) != (self._now.delay_ms, self._now.jitter_ms):
            self._end_delays()
            if weather.delay_ms or weather.jitter_ms:
                self._delay(weather)
        self._now = weather

    def _delay(self, weather: Weather) -> None:
        for node in self._nodes:
            module = [sys.executable, "-m", "chaos.machine.delay_line", str(weather.delay_ms), str(weather.jitter_ms)]
            self._lines.append(start_process([*self.enter(node), *module], output=None))
            queue = ["-s", NODES_NET, "-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass"]
            run(*self.enter(node), "iptables", "-A", "INPUT", *queue)

    def _end_delays(self) -> None:
        """The kernel drops what waits in a queue whose line has ended; it is sent again."""
        if not self._lines:
            return
        for node in self._nodes:
            run(*self.enter(node), "iptables", "-F", "INPUT")
        for line in self._lines:
            line.kill()
            line.wait()
        self._lines = []
