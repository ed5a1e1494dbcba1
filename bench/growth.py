"""What the broker costs as the work grows: one curve for each thing that grows.

    python -m bench.growth [--curves NAME,..] [--repeat 3] [--seconds 4] [--json FILE] [--plots DIRECTORY]

Law: only one thing grows along a curve, on a cluster of its own; each point is the median of `--repeat` runs with its
spread, and every curve says in one line what it shows. Deep queues, many queues and many clients are held to goals of
their own: `bench.depth`, `bench.many_queues`, `bench.many_clients`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pika.exchange_type import ExchangeType

from bench.beside_rabbitmq import QUEUE, load_command, run_load
from bench.plots import draw_growth
from bench.results import Answer, environment, write_report
from bench.systems import Ours, build_load, channel_to, declare

_EXCHANGE = "bench-bindings"
_MAIN_LOAD = "--window 500 --prefetch 300"


class Stage:
    """Where a point is measured: the load generator and a directory for clusters."""

    def __init__(self, program: Path, directory: Path, seconds: int) -> None:
        self.program = program
        self.seconds = seconds
        self._directory = directory
        self._clusters = 0

    def cluster(self, nodes: int = 3) -> Ours:
        """A new one. Whoever asks stops it."""
        self._clusters += 1
        return Ours(self._directory / f"cluster-{self._clusters}", nodes)

    def load(self, system: Ours, arguments: str) -> Answer:
        """One run at the queue's leader."""
        declare(system.ports[0], QUEUE, {"x-queue-type": "quorum"})
        port = system.leader_port(QUEUE)
        command = [*load_command(self.program, system, [port], arguments), "--duration", str(self.seconds)]
        return run_load([*command, "--warmup", "1", "--keep"], self.seconds + 120)


@dataclass(frozen=True, slots=True)
class Curve:
    """`measure(stage, x)` gives one run of one point; `y` names the key of it that is drawn."""

    says: str
    x: str
    y: str
    values: Sequence[int]
    measure: Callable[[Stage, Ours, int], Answer]
    nodes: Callable[[int], int] = lambda x: 3
    key: str = "broker_cpu_us_per_msg"


def _beside_connections(stage: Stage, system: Ours, count: int) -> Answer:
    if not count:
        return stage.load(system, _MAIN_LOAD)
    command = [*load_command(stage.program, system, system.ports, ""), "--mode", "idle", "--conns", str(count)]
    idle = subprocess.Popen([*command, "--duration", str(stage.seconds + 5)], stdout=subprocess.DEVNULL)
    try:
        time.sleep(2 + count / 500)  # they are all open
        return stage.load(system, _MAIN_LOAD)
    finally:
        idle.wait()


def _through_bindings(stage: Stage, system: Ours, count: int) -> Answer:
    declare(system.ports[0], QUEUE, {"x-queue-type": "quorum"})
    with channel_to(system.ports[0]) as channel:
        channel.exchange_declare(_EXCHANGE, ExchangeType("topic"), durable=True)
        channel.queue_bind(QUEUE, _EXCHANGE, QUEUE)
        for number in range(count - 1):
            channel.queue_bind(QUEUE, _EXCHANGE, f"elsewhere.{number}.*.#")
    answer = stage.load(system, f"{_MAIN_LOAD} --exchange {_EXCHANGE}")
    with channel_to(system.ports[0]) as channel:
        channel.exchange_delete(_EXCHANGE)
    return answer


def _of_size(stage: Stage, system: Ours, size: int) -> Answer:
    window = max(2, min(500, (16 << 20) // size))
    return stage.load(system, f"--size {size} --window {window} --prefetch {max(1, window // 2)}")


def _in_cluster(stage: Stage, system: Ours, nodes: int) -> Answer:
    return stage.load(system, _MAIN_LOAD)


CURVES = {
    "connections": Curve(
        "A message beside idle connections", "idle connections", "us of broker CPU a message",
        (0, 30, 100, 300, 1000), _beside_connections,
    ),
    "bindings": Curve(
        "A message through a topic exchange with many bindings", "bindings", "us of broker CPU a message",
        (1, 10, 100, 1000), _through_bindings,
    ),
    "size": Curve(
        "A message as it gets larger", "bytes of the body", "us of broker CPU a message",
        (16, 256, 4096, 65536, 1 << 20), _of_size,
    ),
    "nodes": Curve(
        "A message in a larger cluster: three replicas of each queue, all others idle", "nodes",
        "us of broker CPU a message, all nodes", (1, 3, 5, 7), _in_cluster, nodes=lambda x: x,
    ),
}  # fmt: skip


def draw_points(curve: Curve, stage: Stage, repeat: int) -> list[dict[str, Any]]:
    """One row for each x: median, low and high of the key, and all runs."""
    points = []
    system: Ours | None = None
    try:
        for x in curve.values:
            if system is None or len(system.ports) != curve.nodes(x):
                if system is not None:
                    system.stop()
                system = stage.cluster(curve.nodes(x))
            runs = [curve.measure(stage, system, x) for _ in range(repeat)]
            values = [float(run[curve.key]) for run in runs]
            points.append({"x": x, "value": median(values), "low": min(values), "high": max(values), "runs": runs})
            rate = median([float(run["consume_rate"]) for run in runs])
            low_high = f"({min(values):,.1f}-{max(values):,.1f})"
            print(f"  {x:>9,} {curve.x}: {median(values):,.1f} {low_high} {curve.y}, {rate:,.0f}/s", flush=True)
    finally:
        if system is not None:
            system.stop()
    return points


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", default=",".join(CURVES))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, help="directory for PNG files")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {
        "environment": environment(sys.argv[1:] if arguments is None else arguments),
        "curves": {},
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        stage = Stage(build_load(Path(directory)), Path(directory), options.seconds)
        for name in options.curves.split(","):
            curve = CURVES[name]
            print(curve.says, flush=True)
            points = draw_points(curve, stage, options.repeat)
            report["curves"][name] = {"says": curve.says, "x": curve.x, "y": curve.y, "points": points}
    if options.json:
        write_report(report, options.json)
    if options.plots:
        for path in draw_growth(report, options.plots):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
