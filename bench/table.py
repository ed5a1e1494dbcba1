"""What the benchmarks of a whole cluster share that are held to goals: figures of its processes, and the table.

Law: a row is one figure and, where there is one, the goal it is held to; it is printed as soon as it is known. Memory
is RssAnon: pages of the store that the kernel may drop at any time are not the node's.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.local_cluster import LocalCluster

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
HTTP_TIMEOUT_SECONDS = 60.0


class Table:
    """Rows for people. `missed` counts the goals that were not reached."""

    def __init__(self, title: str) -> None:
        self.missed = 0
        print(f"== {title} (load before: {os.getloadavg()[0]:.1f})", flush=True)

    def row(self, what: str, value: float, unit: str, *, under: float | None = None, over: float | None = None) -> None:
        """`under` and `over` are the goal."""
        figure = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        goal = f"< {under:,g}" if under is not None else f"> {over:,g}" if over is not None else ""
        is_good = (under is None or value < under) and (over is None or value > over)
        self.missed += not is_good
        print(f"{what:<58}{figure:>9} {unit:<8}{goal:<12}{'' if is_good else 'MISSED'}".rstrip(), flush=True)


class Stopwatch:
    """Seconds by the wall and of the nodes' processors since it was made."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._began = time.perf_counter()
        self._cpu = cpu_seconds(cluster)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self._cluster) - self._cpu


def pids(cluster: LocalCluster) -> list[int]:
    return [child.pid for child in cluster.children if child is not None]


def cpu_seconds(cluster: LocalCluster) -> float:
    """Of all nodes together, since they started."""
    ticks = 0
    for pid in pids(cluster):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_A_SECOND


def anonymous_mib(cluster: LocalCluster) -> float:
    """Of the node that has most."""
    return max(_anonymous_kib(pid) for pid in pids(cluster)) / 1024


def _anonymous_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


def disk_mib(cluster: LocalCluster) -> float:
    """What the files of the node that has most take."""
    return max(_disk_bytes(node.config_path.parent) for node in cluster.nodes) / (1 << 20)


def _disk_bytes(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def ask(cluster: LocalCluster, index: int, path: str, method: str = "GET", body: object = None) -> Any:
    """A request to a node's admin interface; the JSON of its answer, None for an empty one."""
    request = urllib.request.Request(
        cluster.url(index) + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "Basic " + b64encode(b"guest:guest").decode(), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_SECONDS) as answer:
        data = answer.read()
    return json.loads(data) if data else None


def restart_seconds(cluster: LocalCluster, index: int) -> float:
    """Kill a node, start it again, and wait until it says that it is ready."""
    cluster.kill(index)
    began = time.perf_counter()
    cluster.start(index)
    cluster.wait_ready(index)
    return time.perf_counter() - began


def ports(cluster: LocalCluster) -> Sequence[int]:
    return [node.amqp_port for node in cluster.nodes]
