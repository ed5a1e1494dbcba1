"""Many queues: how fast they come and go, what they cost, and whether anything gets slower by them.

    python -m bench.many_queues [--queues 100000]

Law: three nodes, fsync on, replicated queues; every declaration is answered when it is durable on a majority and
visible on all three. Every goal is for the whole cluster on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.table import Stopwatch, Table, anonymous_mib, ask, ports, restart_seconds
from bench.wire import Wire, call_on_all, call_spread
from chaos.local_cluster import LocalCluster
from cluster.amqp import methods as m
from cluster.amqp.method import Method

SEQUENTIAL = 1000
CLIENTS = 12
CHANNELS = 64
STEP = 10_000
"""Queues between two looks at the rate."""
POLICY = "/api/policies/%2F/bench"
_IDLE_SECONDS = 5.0


def declare(name: str) -> Method:
    return m.QueueDeclare(name, False, True, False, False, False, {"x-queue-type": "quorum"})


def bind(name: str, number: int) -> Method:
    return m.QueueBind(name, "amq.topic", f"bench.{number % 1000}.*.{number}.#", False, {})


def delete(name: str) -> Method:
    return m.QueueDelete(name, False, False, False)


def few(cluster: LocalCluster, table: Table) -> None:
    """Latency and rate with next to no queues."""
    first = ports(cluster)[0]
    with Wire(first) as wire:
        watch = Stopwatch(cluster)
        wire.call_all(declare(f"one-{n}") for n in range(SEQUENTIAL))
        table.row(f"{SEQUENTIAL} queues declared one after the other", watch.seconds, "s", under=2)
        table.row("  processor time of one, all nodes", watch.cpu_seconds / SEQUENTIAL * 1e3, "ms")
        wire.call_all(delete(f"one-{n}") for n in range(SEQUENTIAL))
        watch = Stopwatch(cluster)
        wire.call_all(_cycles("alone", 200))
        table.row("queues declared and deleted, 1 client", 200 / watch.seconds, "/s", over=100)
    wires = [Wire(port) for port in list(ports(cluster)) * (CLIENTS // 3)]
    watch = Stopwatch(cluster)
    call_on_all(wires, [[declare(f"{n}-{i}") for i in range(100)] for n in range(len(wires))])
    table.row(f"queues declared, {CLIENTS} clients", 100 * CLIENTS / watch.seconds, "/s", over=1000)
    call_on_all(wires, [[delete(f"{n}-{i}") for i in range(100)] for n in range(len(wires))])
    watch = Stopwatch(cluster)
    call_on_all(wires, [list(_cycles(f"by-{n}", 50)) for n in range(len(wires))])
    table.row(f"queues declared and deleted, {CLIENTS} clients", 50 * CLIENTS / watch.seconds, "/s", over=500)
    for wire in wires:
        wire.close()


def _cycles(name: str, count: int) -> Iterable[Method]:
    for number in range(count):
        yield declare(f"{name}-{number}")
        yield delete(f"{name}-{number}")


def grow(cluster: LocalCluster, table: Table, count: int) -> None:
    """To `count` queues, each with a binding."""
    before = anonymous_mib(cluster)
    wires = [Wire(port, CHANNELS) for port in ports(cluster)]
    watch = Stopwatch(cluster)
    costs: list[float] = []
    for start in range(0, count, STEP):
        step = Stopwatch(cluster)
        numbers = range(start, min(count, start + STEP))
        for methods in ([declare(f"q-{n}") for n in numbers], [bind(f"q-{n}", n) for n in numbers]):
            call_spread(wires, methods)
        costs.append(step.cpu_seconds / len(numbers) * 1e3)
    table.row(f"{count} queues and bindings", watch.seconds, "s", under=120)
    table.row("  processor time of one, first step", costs[0], "ms")
    table.row("  processor time of one, last step", costs[-1], "ms", under=costs[0] * 1.5)
    table.row("memory of a queue with its binding", (anonymous_mib(cluster) - before) * 1024 / count, "KiB", under=2)
    for wire in wires:
        wire.close()


def live(cluster: LocalCluster, table: Table, count: int) -> None:
    """With all of them there."""
    with Wire(ports(cluster)[0]) as wire:
        watch = Stopwatch(cluster)
        wire.call_all(declare(f"late-{n}") for n in range(200))
        table.row(f"a queue declared beside {count}", watch.seconds / 200 * 1e3, "ms", under=4)
    watch = Stopwatch(cluster)
    time.sleep(_IDLE_SECONDS)
    table.row("idle, all nodes", watch.cpu_seconds / watch.seconds, "cores", under=0.15)
    for what, path in (
        ("first page of /api/queues", "/api/queues?page=1&page_size=100"),
        ("one queue of /api/queues", "/api/queues/%2F/q-77"),
        ("/api/overview", "/api/overview"),
    ):
        watch = Stopwatch(cluster)
        ask(cluster, 1, path)
        table.row(what, watch.seconds, "s", under=2)
    pause = _longest_pause(cluster, lambda: ask(cluster, 1, POLICY, "PUT", _policy()))
    table.row("longest pause of a node in a change of policies", pause * 1e3, "ms", under=500)
    ask(cluster, 1, POLICY, "DELETE")


def _policy() -> object:
    return {"pattern": "^q-", "definition": {"max-length": 1_000_000}, "apply-to": "queues", "priority": 0}


def _longest_pause(cluster: LocalCluster, cause: Callable[[], object]) -> float:
    """Seconds between question and answer of a client that has nothing to wait for, while `cause` takes effect."""
    longest = 0.0
    with Wire(ports(cluster)[0]) as wire:
        cause()
        until = time.perf_counter() + 5
        while (asked := time.perf_counter()) < until:
            wire.call(m.BasicQos(0, 10, False))
            longest = max(longest, time.perf_counter() - asked)
    return longest


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queues", type=int, default=100_000)
    count: int = parser.parse_args(arguments).queues
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, LocalCluster(3, Path(directory)) as cluster:
        time.sleep(5)  # leaders find their places
        table = Table(f"many queues, {count}")
        few(cluster, table)
        grow(cluster, table, count)
        live(cluster, table, count)
        for index, who in ((2, "a node"), (0, "another")):
            table.row(f"{who} killed, until it is ready again", restart_seconds(cluster, index), "s", under=4)
    return int(table.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
