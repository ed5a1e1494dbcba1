"""The whole broker beside RabbitMQ: the same load, the same machine, the same hour.

    python -m bench.beside_rabbitmq [--repeat 3] [--seconds 6] [--cases 'PART;..'] [--quick] [--ours-only]
                                    [--json FILE] [--plots DIRECTORY]

Law: runs are interleaved (ours, theirs, ours, ...), a figure is the median of `--repeat` runs and comes with its
spread. A run that lost or repeated a message is a failure, not a figure. What a node did for others is not counted:
the processor time is that of the brokers' processes alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pika.exchange_type import ExchangeType

from bench import failover, fairness
from bench.cases import ALL, CASES, LEADER, Case
from bench.plots import draw_comparison
from bench.results import Answer, Summary, environment, line, summary, write_report
from bench.systems import Ours, RabbitMq, System, build_load, channel_to, declare

QUEUE = "bench"
_FANOUT_EXCHANGE = "bench-fanout"


def load_command(program: Path, system: System, ports: Sequence[int], arguments: str) -> list[str]:
    """amqpload with its clients at `ports`, counting the processor time of the system's nodes."""
    hosts = ",".join([f"127.0.0.1:{port}" for port in ports])
    pids = ",".join(map(str, system.pids()))
    return [str(program), "--pub", hosts, "--con", hosts, "--queue", QUEUE, "--pids", pids, *arguments.split()]


def run_load(command: Sequence[str], timeout_seconds: float) -> Answer:
    """amqpload's answer. Raises RuntimeError when it found something wrong."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_seconds)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not done after {timeout_seconds:g} s") from error
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[-300:]}")
    answer: Answer = json.loads(done.stdout)
    return answer


@contextmanager
def _stage(system: System, case: Case) -> Iterator[list[int]]:
    """Queues and bindings of a case, and the ports for its clients."""
    port = system.ports[0]
    if not case.makes_queue:
        yield system.ports if case.at == ALL else [port]
        return
    queues = [QUEUE, *(f"{QUEUE}-{number}" for number in range(case.fanout))]
    try:
        for queue in queues:
            declare(port, queue, {"x-queue-type": "quorum"})
        if case.fanout:
            with channel_to(port) as channel:
                channel.exchange_declare(_FANOUT_EXCHANGE, ExchangeType("fanout"), durable=True)
                for queue in queues[1:]:
                    channel.queue_bind(queue, _FANOUT_EXCHANGE)
        leader = system.leader_port(QUEUE)
        yield [leader] if case.at == LEADER else [next(p for p in system.ports if p != leader)]
    finally:
        with channel_to(port) as channel:
            if case.fanout:
                channel.exchange_delete(_FANOUT_EXCHANGE)
            for queue in queues:
                channel.queue_delete(queue)


def run_once(program: Path, system: System, case: Case, seconds: int) -> Answer:
    """One run's answer. Raises RuntimeError."""
    with _stage(system, case) as ports:
        kind = ["--queue-type", case.queue_type]
        if case.fanout:
            kind += ["--exchange", _FANOUT_EXCHANGE]
        if case.filling:
            run_load([*load_command(program, system, ports, case.filling), *kind], 120)
        if case.makes_queue:
            kind += ["--keep"]
        command = [*load_command(program, system, ports, case.arguments), *kind]
        if "--count" not in case.arguments:
            command += ["--duration", str(seconds)]
        if "--mode" not in case.arguments:
            command += ["--warmup", "1"]
        return run_load(command, seconds + 120)


def measure(
    program: Path, systems: Sequence[System], cases: Sequence[Case], *, repeat: int, seconds: int
) -> dict[str, dict[str, Summary]]:
    """Case -> system -> figures. Prints each row as it is done."""
    results: dict[str, dict[str, Summary]] = {}
    for case in cases:
        answers: dict[str, list[Answer]] = {system.name: [] for system in systems}
        for _ in range(repeat):
            for system in systems:
                try:
                    answers[system.name].append(run_once(program, system, case, seconds))
                except RuntimeError as error:
                    print(f"! {system.name}: {case.name}: {error}", file=sys.stderr)
        results[case.name] = {name: summary(case.metric, runs) for name, runs in answers.items() if runs}
        print(line(case.name, results[case.name]), flush=True)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--cases", default="", help="parts of case names, separated by semicolons")
    parser.add_argument("--quick", action="store_true", help="the four main rows, once")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, help="directory for PNG files; needs --json")
    options = parser.parse_args(arguments)
    wanted = [part for part in options.cases.split(";") if part]
    cases = [case for case in CASES if not wanted or any(part in case.name for part in wanted)]
    repeat, seconds = options.repeat, options.seconds
    if options.quick:
        cases, repeat, seconds = [case for case in cases if case.quick], 1, 5
    report: dict[str, Any] = {"environment": environment(sys.argv[1:] if arguments is None else arguments)}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        program = build_load(Path(directory))
        systems: list[System] = [Ours(Path(directory) / "ours")]
        try:
            if not options.ours_only and RabbitMq.installed():
                systems.append(RabbitMq(Path(directory) / "rabbit"))
            report["cases"] = measure(program, systems, cases, repeat=repeat, seconds=seconds)
            if not options.quick and not wanted:
                report["fairness"] = fairness.measure(program, systems, repeat=repeat, seconds=seconds)
                report["failover"] = failover.measure(program, systems, repeat=repeat)
        finally:
            for system in systems:
                system.stop()
    if options.json:
        write_report(report, options.json)
        if options.plots:
            for path in draw_comparison(report, options.plots):
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
