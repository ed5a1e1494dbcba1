"""Publishing and consuming as fast as it goes, for long: does what a node holds stay bounded, and is it given back?

    python -m bench.full_speed [--seconds 600]

Law: one replicated queue, one publisher with confirms and one consumer with acks, each with a window that keeps the
nodes busy all the time. Memory and disk are those of the node that has most, sampled all the time. They are compared
with what they were early in the run, and, when all is consumed, with what they were before it, on a cluster that had
worked for a moment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.results import Answer
from bench.systems import loaded_cluster
from bench.table import Table, anonymous_mib, ask, ports
from chaos.local_cluster import LocalCluster

SIZE = 1024
LOAD = f"--size {SIZE} --window 5000 --prefetch 2000 --queue full-speed"
WARMED_SECONDS = 5
SAMPLE_SECONDS = 0.5
AFTER_SECONDS = 30.0
"""How long memory and disk may take to come back."""
GROWTH_MAX = 1.3
"""Memory in the last tenth over that in the second, and after the run over that before."""
MEMORY_MIB = 250.0
STORE_MIB = 512.0
STORE_SLACK_MIB = 24.0
"""What a store may hold without anything alive in it."""
RATE_MIN = 5_000
"""Messages a second: less is not full speed."""


class Sample(NamedTuple):
    memory_mib: float
    store_mib: float


def _look(cluster: LocalCluster) -> Sample:
    nodes = ask(cluster, 0, "/api/cluster/status")["nodes"]
    return Sample(anonymous_mib(cluster), max(node.get("disk_used_bytes", 0) for node in nodes) / (1 << 20))


def _run(program: Path, cluster: LocalCluster, seconds: int) -> tuple[Answer, list[Sample]]:
    """Raises RuntimeError when the clients found something wrong."""
    at = f"127.0.0.1:{ports(cluster)[0]}"
    command = [str(program), "--pub", at, "--con", at, "--duration", str(seconds), *LOAD.split()]
    samples: list[Sample] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        while load.poll() is None:
            samples.append(_look(cluster))
            time.sleep(SAMPLE_SECONDS)
        out, complaints = load.communicate()
    if load.returncode:
        raise RuntimeError(f"amqpload: exit {load.returncode}: {complaints.strip()[-300:]}")
    answer: Answer = json.loads(out)
    return answer, samples


def full_speed(program: Path, cluster: LocalCluster, table: Table, seconds: int) -> None:
    _run(program, cluster, WARMED_SECONDS)
    before = _settled(cluster, STORE_SLACK_MIB, MEMORY_MIB)
    answer, samples = _run(program, cluster, seconds)
    after = _settled(cluster, before.store_mib + STORE_SLACK_MIB, GROWTH_MAX * before.memory_mib)
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth] or samples, samples[-tenth:]
    table.row("published and consumed", answer["consume_rate"], "/s", over=RATE_MIN)
    table.row("  memory of a node at its highest", max(s.memory_mib for s in samples), "MiB", under=MEMORY_MIB)
    grown = max(s.memory_mib for s in late) / max(s.memory_mib for s in early)
    table.row("  in the last tenth over the second", grown, "times", under=GROWTH_MAX)
    table.row("  store of a node at its highest", max(s.store_mib for s in samples), "MiB", under=STORE_MIB)
    table.row("afterwards memory over that before", after.memory_mib / before.memory_mib, "times", under=GROWTH_MAX)
    table.row("  store, more than before", after.store_mib - before.store_mib, "MiB", under=STORE_SLACK_MIB)


def _settled(cluster: LocalCluster, store_mib: float, memory_mib: float) -> Sample:
    """As soon as no more than that is held, or when there has been time enough for it."""
    deadline = time.monotonic() + AFTER_SECONDS
    while (now := _look(cluster)).store_mib >= store_mib or now.memory_mib >= memory_mib:
        if time.monotonic() > deadline:
            break
        time.sleep(SAMPLE_SECONDS)
    return now


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    seconds = parser.parse_args(arguments).seconds
    with loaded_cluster() as (program, cluster):
        table = Table(f"full speed for {seconds} s, messages of {SIZE} B")
        full_speed(program, cluster, table, seconds)
    return int(table.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
