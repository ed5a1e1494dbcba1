"""The whole broker beside RabbitMQ: the same load, the same machine, the same hour.

    python -m bench.beside_rabbitmq [--repeat 5] [--seconds 8] [--cases NAME,..] [--ours-only] [--json FILE]

Law: runs are interleaved (ours, theirs, ours, ...), a figure is the median of `--repeat` runs and comes with its
spread. A run that lost or repeated a message is a failure, not a figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.systems import Ours, RabbitMq, System, build_load, declare, delete

LEADER, FOLLOWER, ALL = "leader", "follower", "all"


@dataclass(frozen=True, slots=True)
class Case:
    """`arguments` for amqpload. `at` is where the clients connect. `metric` is the key of its answer."""

    name: str
    arguments: str
    at: str = LEADER
    metric: str = "consume_rate"
    queue_type: str = "quorum"


CASES = [
    Case("1 queue, 256 B, window 500, on the leader", "--window 500 --prefetch 300"),
    Case("the same, on a follower", "--window 500 --prefetch 300", FOLLOWER),
    Case("16 B", "--size 16 --window 500 --prefetch 300"),
    Case("1 KiB", "--size 1024 --window 500 --prefetch 300"),
    Case("16 KiB", "--size 16384 --window 200 --prefetch 100"),
    Case("1 MiB", "--size 1048576 --window 20 --prefetch 10"),
    Case("10 queues over all nodes, window 50", "--queues 10 --pubs 10 --cons 10 --window 50 --prefetch 50", ALL),
    Case("window 1", "--window 1 --prefetch 1"),
    Case("publish only", "--mode pub --window 500", metric="publish_rate"),
    Case("connections, 12 clients", "--mode conn-churn --workers 12", ALL, "cycles_per_s"),
    Case("channels, 12 clients", "--mode chan-churn --workers 12", ALL, "cycles_per_s"),
    Case(
        "transient, auto-ack, no confirms",
        "--non-durable --transient --auto-ack --no-confirm --prefetch 0",
        queue_type="none",
    ),
]


def run_once(program: Path, system: System, case: Case, seconds: int) -> dict[str, Any]:
    """One run's answer. Raises RuntimeError when the load generator found something wrong."""
    queue = "bench"
    port = system.ports[0]
    ports = [port]
    if case.at == ALL:
        ports = system.ports
    elif case.queue_type == "quorum" and "--mode" not in case.arguments:
        declare(port, queue, {"x-queue-type": "quorum"})
        leader = system.leader_port(queue)
        ports = [leader] if case.at == LEADER else [next(p for p in system.ports if p != leader)]
    hosts = ",".join([f"127.0.0.1:{p}" for p in ports])
    command = [
        str(program), "--pub", hosts, "--con", hosts, "--queue", queue, "--queue-type", case.queue_type,
        "--duration", str(seconds), "--pids", ",".join(map(str, system.pids())), *case.arguments.split(),
    ]  # fmt: skip
    if "--mode" not in case.arguments:
        command += ["--warmup", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 120)
    if done.returncode != 0:
        raise RuntimeError(f"{system.name}: {case.name}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    if case.queue_type == "quorum":
        delete(port, queue)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--cases", default="", help="parts of case names, separated by semicolons")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    wanted = [part for part in options.cases.split(";") if part]
    cases = [case for case in CASES if not wanted or any(part in case.name for part in wanted)]
    results: dict[str, dict[str, list[dict[str, Any]]]] = {case.name: {} for case in cases}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        program = build_load(Path(directory))
        systems: list[System] = [Ours(Path(directory) / "ours")]
        try:
            if not options.ours_only and RabbitMq.installed():
                systems.append(RabbitMq(Path(directory) / "rabbit"))
            for case in cases:
                for _ in range(options.repeat):
                    for system in systems:
                        try:
                            answer = run_once(program, system, case, options.seconds)
                        except (RuntimeError, subprocess.TimeoutExpired) as error:
                            print(f"! {error}", file=sys.stderr)
                            continue
                        results[case.name].setdefault(system.name, []).append(answer)
                print(_line(case, results[case.name], [s.name for s in systems]), flush=True)
        finally:
            for system in systems:
                system.stop()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def _line(case: Case, results: dict[str, list[dict[str, Any]]], systems: Sequence[str]) -> str:
    cells = []
    medians = []
    for name in systems:
        runs = [float(run.get(case.metric, run.get("rate", 0.0))) for run in results.get(name, [])]
        if not runs:
            cells.append(f"{name}: failed")
            continue
        cpu = median([float(run.get("broker_cpu_us_per_msg", 0.0)) for run in results[name]])
        p99 = median([float(run.get("confirm_us", {}).get("p99", 0.0)) for run in results[name]]) / 1000
        medians.append(median(runs))
        cells.append(
            f"{name}: {median(runs):,.0f}/s ({min(runs):,.0f}-{max(runs):,.0f}), {cpu:.0f} us CPU, p99 {p99:.1f} ms"
        )
    ratio = f"  ratio {medians[0] / medians[1]:.1f}x" if len(medians) == 2 and medians[1] else ""
    return f"{case.name:45} " + " | ".join(cells) + ratio


if __name__ == "__main__":
    sys.exit(main())
