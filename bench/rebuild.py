"""A node comes back with an empty disk: what its rebuilding costs clients of the others.

    python -m bench.rebuild [--mib 500]

Law: a backlog in one queue has to be sent to the newcomer, at the limited rate of its leader. Beside it a polite client
publishes and consumes at a fixed rate at a node that was there all the time; its confirms are compared with its own
before, in the same minute and with all three nodes, for as long as the transfer takes at its limit.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.fairness import polite
from bench.results import Answer
from bench.systems import loaded_cluster
from bench.table import Table, ask, ports
from bench.wire import Wire
from chaos.local_cluster import LocalCluster, wait_until
from cluster.amqp import methods as m
from cluster.raft.runtime.interface import RuntimeConfig

DEEP_QUEUE, POLITE_QUEUE = "deep", "polite"
SIZE = 2048
WORSE_MAX = 2.0
"""The polite client's percentiles over those alone, at most."""
SLOWER_MAX = 3.0
"""The time that a rebuilding takes over that of its bytes at the limited rate, at most; beside what a change of members
takes by itself."""
CHANGE_SECONDS = 20.0
MEASURED_SECONDS_MIN = 5
RATE_MIB = RuntimeConfig().rebuild_bytes_per_second >> 20


def rebuild(program: Path, cluster: LocalCluster, table: Table, mib: int) -> None:
    everywhere = list(ports(cluster))
    with Wire(everywhere[0]) as wire:
        for queue in (DEEP_QUEUE, POLITE_QUEUE):
            wire.call(m.QueueDeclare(queue, False, True, False, False, False, {"x-queue-type": "quorum"}))
    _fill(program, everywhere[0], mib)
    names = [node.name for node in cluster.nodes]
    leaders = {_leader(cluster, queue) for queue in (DEEP_QUEUE, POLITE_QUEUE)}
    lost = next(index for index, name in enumerate(names) if name not in leaders)
    port = everywhere[names.index(_leader(cluster, POLITE_QUEUE))]
    seconds = max(MEASURED_SECONDS_MIN, mib // RATE_MIB)
    alone = polite(program, port, POLITE_QUEUE, seconds)
    cluster.kill(lost)
    shutil.rmtree(cluster.nodes[lost].directory / "data")
    began = time.perf_counter()
    cluster.start(lost)
    beside = polite(program, port, POLITE_QUEUE, seconds)
    wait_until(lambda: _is_whole(cluster, (lost + 1) % len(names)), "the newcomer has everything", 900.0)
    table.row("polite client alone, median", _milliseconds(alone, "p50"), "ms")
    table.row("  99th percentile", _milliseconds(alone, "p99"), "ms")
    for title, key in (("beside the rebuilding, median", "p50"), ("  99th percentile", "p99")):
        table.row(title, _milliseconds(beside, key), "ms", under=WORSE_MAX * _milliseconds(alone, key))
    most = SLOWER_MAX * mib / RATE_MIB + CHANGE_SECONDS
    table.row("  until the newcomer had everything", time.perf_counter() - began, "s", under=most)


def _milliseconds(answer: Answer, key: str) -> float:
    return float(answer["confirm_us"][key]) / 1000


def _fill(program: Path, port: int, mib: int) -> None:
    command = [
        str(program), "--mode", "pub", "--pub", f"127.0.0.1:{port}", "--queue", DEEP_QUEUE, "--size", str(SIZE),
        "--count", str((mib << 20) // SIZE), "--window", "2000", "--keep",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _leader(cluster: LocalCluster, queue: str) -> str:
    leader: str = ask(cluster, 0, f"/api/queues/%2F/{queue}")["leader"]
    return leader


def _is_whole(cluster: LocalCluster, index: int) -> bool:
    """Has every group its voters again, all of them up and none of them behind for long?"""
    groups = ask(cluster, index, "/api/cluster/status")["groups"]
    whole = len(cluster.nodes)
    return all(
        len(group["members"]) == whole and all(member["voter"] and member["up"] for member in group["members"])
        for group in groups
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=500, help="of messages in the backlog")
    mib = parser.parse_args(arguments).mib
    with loaded_cluster() as (program, cluster):
        table = Table(f"a node rebuilt from {mib} MiB, {RATE_MIB} MiB/s at most")
        rebuild(program, cluster, table, mib)
    return int(table.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
