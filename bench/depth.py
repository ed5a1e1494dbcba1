"""Deep queues: how fast a backlog comes and goes, and what it costs while it is there.

    python -m bench.depth [--counts 500000,5000000]

Law: one replicated queue of 256-byte messages on three nodes, fsync on, one publisher with confirms, one consumer with
acks. A run that lost or repeated a message is a failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.systems import build_load
from bench.table import Table, anonymous_mib, ask, disk_mib, pids, ports, restart_seconds
from bench.wire import Wire
from chaos.local_cluster import LocalCluster, wait_until
from cluster.amqp import methods as m

QUEUE = "deep"
KILLED_AT = 0.8
"""Of the messages of a backlog, when its leader is killed while it grows."""
SIZE = 256
MEMORY_MIB = {500_000: 150.0, 5_000_000: 250.0}
"""Messages -> what a node may take in memory."""
RABBITMQ_FILL, RABBITMQ_DRAIN = 13_000, 28_000
"""Messages a second of RabbitMQ's quorum queues, on two cores."""
TIMES = 3
"""As fast as RabbitMQ, at least."""


def load(program: Path, cluster: LocalCluster, mode: str, count: int, *options: str) -> dict[str, Any]:
    """amqpload's answer. Raises RuntimeError when it found something wrong."""
    of_processes = ["--pids", ",".join(map(str, pids(cluster)))]
    return _answer(_begin(program, cluster, 0, mode, count, *of_processes, *options))


def _begin(
    program: Path, cluster: LocalCluster, index: int, mode: str, count: int, *options: str
) -> subprocess.Popen[str]:
    """amqpload at work, at one node."""
    at = f"127.0.0.1:{ports(cluster)[index]}"
    command = [
        str(program), "--mode", mode, "--pub", at, "--con", at, "--queue", QUEUE, "--size", str(SIZE),
        "--count", str(count), "--keep", *options,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Raises RuntimeError when it found something wrong."""
    out, complaints = process.communicate()
    if process.returncode:
        raise RuntimeError(f"amqpload: exit {process.returncode}: {complaints.strip()[-300:]}")
    answer: dict[str, Any] = json.loads(out)
    return answer


def fail_over(program: Path, cluster: LocalCluster, table: Table, count: int) -> None:
    """The leader of a backlog that still grows is killed; the publisher is at a node that lives on."""
    with Wire(ports(cluster)[0]) as wire:
        wire.call(m.QueueDeclare(QUEUE, False, True, False, False, False, {"x-queue-type": "quorum"}))
    wait_until(lambda: bool(_leader(cluster)), "the queue has a leader")
    names = [node.name for node in cluster.nodes]
    leader = names.index(_leader(cluster))
    survivor = (leader + 1) % len(names)
    load = _begin(program, cluster, survivor, "pub", count, "--window", "3000", "--drain-timeout", "60")
    try:
        deep = int(count * KILLED_AT)
        wait_until(lambda: _depth(cluster, survivor) >= deep, f"{deep} messages are there", 900.0)
        seconds = restart_seconds(cluster, leader)
        filled = _answer(load)
    finally:
        load.kill()
    table.row("longest time without a confirm, leader killed", filled["max_confirm_gap_ms"] / 1000, "s", under=4)
    table.row("  until the killed leader is ready again, under load", seconds, "s", under=4)
    _answer(_begin(program, cluster, survivor, "drain", count, "--prefetch", "2000"))
    with Wire(ports(cluster)[survivor]) as wire:
        wire.call(m.QueueDelete(QUEUE, False, False, False))


def _depth(cluster: LocalCluster, index: int) -> int:
    messages: int = ask(cluster, index, f"/api/queues/%2F/{QUEUE}")["messages"]
    return messages


def depth(program: Path, cluster: LocalCluster, table: Table, count: int) -> None:
    with Wire(ports(cluster)[0]) as wire:
        wire.call(m.QueueDeclare(QUEUE, False, True, False, False, False, {"x-queue-type": "quorum"}))
    filled = load(program, cluster, "pub", count, "--window", "3000")
    table.row(f"fill with {count}", filled["publish_rate"], "/s", over=RABBITMQ_FILL * TIMES)
    table.row("  processor time of a message, all nodes", filled["broker_cpu_us_per_msg"], "us")
    table.row("  memory of a node", anonymous_mib(cluster), "MiB", under=MEMORY_MIB.get(count))
    table.row("  disk of a node", disk_mib(cluster), "MiB", under=count * SIZE * 2 / (1 << 20))
    index = next(i for i, node in enumerate(cluster.nodes) if node.name != _leader(cluster))
    table.row("a follower killed, until it is ready again", restart_seconds(cluster, index), "s", under=4)
    index = next(i for i, node in enumerate(cluster.nodes) if node.name == _leader(cluster))
    table.row("its leader killed, until it is ready again", restart_seconds(cluster, index), "s", under=4)
    wait_until(lambda: bool(_leader(cluster)), "the queue has a leader")
    drained = load(program, cluster, "drain", count, "--prefetch", "2000")
    table.row(f"drain of {count}", drained["consume_rate"], "/s", over=RABBITMQ_DRAIN * TIMES)
    table.row("  processor time of a message, all nodes", drained["broker_cpu_us_per_msg"], "us")
    time.sleep(3)  # snapshots follow what was settled
    table.row("  memory of a node", anonymous_mib(cluster), "MiB", under=MEMORY_MIB.get(count))
    live = max(node["disk_used_bytes"] for node in ask(cluster, 0, "/api/cluster/status")["nodes"])
    table.row("  live pages of a node's store", live / (1 << 20), "MiB", under=64)
    with Wire(ports(cluster)[0]) as wire:
        wire.call(m.QueueDelete(QUEUE, False, False, False))


def _leader(cluster: LocalCluster) -> str:
    leader: str = ask(cluster, 1, f"/api/queues/%2F/{QUEUE}")["leader"]
    return leader


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="500000,5000000")
    counts = [int(count) for count in parser.parse_args(arguments).counts.split(",")]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        program = build_load(Path(directory))
        missed = 0
        for count in counts:
            with LocalCluster(3, Path(directory) / str(count)) as cluster:
                time.sleep(5)  # leaders find their places
                table = Table(f"a queue of {count} messages of {SIZE} B")
                depth(program, cluster, table, count)
                fail_over(program, cluster, table, count)
                missed += table.missed
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
