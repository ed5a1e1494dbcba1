"""What grows: for each curve what it shows, its points, and one run of a point.

Law: only x is different between two points of a curve. A figure is the brokers' processor time for what the run itself
sent: what stands beside it is there before the run begins.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import many_queues
from bench.beside_rabbitmq import QUEUE, load_command, run_load
from bench.results import Answer
from bench.systems import Ours, channel_to, declare
from bench.wire import Wire, call_spread
from cluster.amqp import methods as m
from cluster.amqp.method import Method

CPU_KEY = "broker_cpu_us_per_msg"
RATE_KEY = "consume_rate"
_EXCHANGE = "bench-bindings"
_MAIN_LOAD = "--window 500 --prefetch 300"
_IN_FLIGHT_OCTETS = 16 << 20
_LARGE_OCTETS = 1 << 20
"""A larger message is sent a fixed number of times: a few seconds hold too few of them to divide by."""
_LARGE_RUN_OCTETS = 640 << 20
_DEPTH_RUN_MESSAGES = 20_000
"""A shallow queue is filled and drained until it were so many."""
_SETTLE_SECONDS = 3.0
_COUNTED_RUN_SECONDS = 720.0
"""At most; amqpload gives up after 600."""


class Stage:
    """Where a point is measured: the load generator and a directory for clusters."""

    def __init__(self, program: Path, directory: Path, seconds: int) -> None:
        self.program = program
        self.seconds = seconds
        self._directory = directory
        self._clusters = 0

    def cluster(self, nodes: int, message_size_max: int | None) -> Ours:
        """A new one. Whoever asks stops it."""
        self._clusters += 1
        return Ours(self._directory / f"cluster-{self._clusters}", nodes, message_size_max)

    def load(self, system: Ours, arguments: str, count: int = 0) -> Answer:
        """One run at the queue's leader: of `count` messages, or for some seconds."""
        declare(system.ports[0], QUEUE, {"x-queue-type": "quorum"})
        command = [*load_command(self.program, system, [system.leader_port(QUEUE)], arguments), "--keep"]
        if count:
            return run_load([*command, "--count", str(count)], _COUNTED_RUN_SECONDS)
        return run_load([*command, "--duration", str(self.seconds), "--warmup", "1"], self.seconds + 120)


def _nothing(system: Ours, before: int, count: int) -> None:
    """There is nothing to prepare."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What is drawn, and how a point of it comes about.

    values            of x, rising
    measure           (stage, system, x): one run, whose CPU_KEY is drawn
    prepare           (system, before, x): before the runs of x; `before` is the x this cluster was prepared for, or 0
    nodes             of the cluster for x; another number is another cluster
    message_size_max  of its nodes; None: the default
    once_from         the x from which a point is one run; None: never
    """

    says: str
    x: str
    y: str
    values: Sequence[int]
    measure: Callable[[Stage, Ours, int], Answer]
    prepare: Callable[[Ours, int, int], None] = _nothing
    nodes: Callable[[int], int] = lambda x: 3
    message_size_max: int | None = None
    once_from: int | None = None
    y_scale: str = "linear"


def _as_it_is(stage: Stage, system: Ours, x: int) -> Answer:
    return stage.load(system, _MAIN_LOAD)


def _beside_connections(stage: Stage, system: Ours, count: int) -> Answer:
    if not count:
        return stage.load(system, _MAIN_LOAD)
    # They hear heartbeats and send none: after two minutes they are closed, and end with a complaint.
    still = f"--mode idle --conns {count} --heartbeat 60 --duration 600"
    command = load_command(stage.program, system, system.ports, still)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as idle:
        assert idle.stderr is not None
        try:
            said = idle.stderr.readline().decode()
            if "are open" not in said:
                raise RuntimeError(f"{count} connections: {said}")
            return stage.load(system, _MAIN_LOAD)
        finally:
            idle.terminate()
            complaint = idle.stderr.read().decode()
            if idle.wait():
                raise RuntimeError(f"{count} connections: {complaint}")


def _call_everywhere(system: Ours, methods: Sequence[Method]) -> None:
    """Said to all nodes at once over many channels; and then what it made them do has been done."""
    wires = [Wire(port, many_queues.CHANNELS) for port in system.ports]
    call_spread(wires, methods)
    for wire in wires:
        wire.close()
    time.sleep(_SETTLE_SECONDS)


def _bind(system: Ours, before: int, count: int) -> None:
    declare(system.ports[0], QUEUE, {"x-queue-type": "quorum"})
    with Wire(system.ports[0]) as wire:
        wire.call(m.ExchangeDeclare(_EXCHANGE, "topic", False, True, False, False, False, {}))
        wire.call(m.QueueBind(QUEUE, _EXCHANGE, QUEUE, False, {}))
    others = (f"elsewhere.{number}.*.#" for number in range(max(before, 1), count))
    _call_everywhere(system, [m.QueueBind(QUEUE, _EXCHANGE, key, False, {}) for key in others])


def _through_bindings(stage: Stage, system: Ours, count: int) -> Answer:
    return stage.load(system, f"{_MAIN_LOAD} --exchange {_EXCHANGE}")


def _declare_others(system: Ours, before: int, count: int) -> None:
    _call_everywhere(system, [many_queues.declare(f"other-{number}") for number in range(before, count)])


def _of_size(stage: Stage, system: Ours, size: int) -> Answer:
    window = max(1, min(500, _IN_FLIGHT_OCTETS // size))
    count = _LARGE_RUN_OCTETS // size if size > _LARGE_OCTETS else 0
    return stage.load(system, f"--size {size} --window {window} --prefetch {max(1, window // 2)}", count)


def _in_and_out(stage: Stage, system: Ours, depth: int) -> Answer:
    """Fill the queue to `depth` and drain it; the figure is of both."""
    fills, drains = [], []
    for _ in range(max(1, _DEPTH_RUN_MESSAGES // depth)):
        fills.append(stage.load(system, "--mode pub --window 3000", depth))
        drains.append(stage.load(system, "--mode drain --prefetch 2000", depth))
    with channel_to(system.ports[0]) as channel:
        channel.queue_delete(QUEUE)
    fill, drain = (sum(answer[CPU_KEY] for answer in answers) / len(answers) for answers in (fills, drains))
    return {
        CPU_KEY: fill + drain,
        RATE_KEY: median([answer[RATE_KEY] for answer in drains]),
        "fills": fills,
        "drains": drains,
    }


CURVES = {
    "connections": Curve(
        "A message beside idle connections", "idle connections", "us of broker CPU a message",
        (0, 10, 100, 1000, 5000), _beside_connections,
    ),
    "bindings": Curve(
        "A message through a topic exchange with many bindings", "bindings", "us of broker CPU a message",
        (1, 100, 1000, 10_000, 100_000), _through_bindings, _bind,
    ),
    "queues": Curve(
        "A message beside idle queues", "other queues", "us of broker CPU a message",
        (0, 10, 100, 1000, 10_000, 100_000), _as_it_is, _declare_others,
    ),
    "size": Curve(
        "A message as it gets larger", "bytes of the body", "us of broker CPU a message",
        (1, 16, 256, 4096, 65536, 1 << 20, 16 << 20, 64 << 20), _of_size, message_size_max=64 << 20, y_scale="log",
    ),
    "depth": Curve(
        "A message of 256 B into a queue that is filled and then drained", "messages in the queue",
        "us of broker CPU a message, in and out", tuple(10**power for power in range(3, 8)), _in_and_out,
        once_from=10**6,
    ),
    "nodes": Curve(
        "A message in a larger cluster: three replicas of each queue, all others idle", "nodes",
        "us of broker CPU a message, all nodes", (1, 3, 5, 7), _as_it_is, nodes=lambda x: x,
    ),
}  # fmt: skip
