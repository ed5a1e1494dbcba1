"""What a greedy client costs a polite one on the same node.

Law: the polite client publishes and consumes at a fixed rate on a queue of its own, and its confirms are timed from
when a message was due. Its percentiles beside the greedy client are compared with its own percentiles alone, in the
same minute; queues of both are led by the node that they are connected to.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.results import Answer
from bench.systems import System, channel_to, declare

POLITE = "--rate 200 --window 1000 --prefetch 100 --size 256"
_POLITE_QUEUE, _GREEDY_QUEUE = "bench-polite", "bench-greedy"


@dataclass(frozen=True, slots=True)
class Greed:
    """`arguments` of the greedy client's amqpload."""

    name: str
    arguments: str


GREEDS = [
    Greed("goes as fast as it can", "--window 5000 --prefetch 2000 --size 1024"),
    Greed("sends 16 MiB in each message", "--window 1 --prefetch 1 --size 16777216"),
]


def measure(program: Path, systems: Sequence[System], *, repeat: int, seconds: int) -> dict[str, Any]:
    """Greed -> system -> the polite client's p99 in milliseconds alone and beside it, medians. Prints rows."""
    result: dict[str, Any] = {}
    for greed in GREEDS:
        pairs: dict[str, list[tuple[float, float]]] = {system.name: [] for system in systems}
        for _ in range(repeat):
            for system in systems:
                try:
                    pairs[system.name].append(_alone_and_beside(program, system, greed, seconds))
                except RuntimeError as error:
                    print(f"! {system.name}: beside one that {greed.name}: {error}", file=sys.stderr)
        result[greed.name] = {
            name: {"alone_p99_ms": median([a for a, _ in runs]), "beside_p99_ms": median([b for _, b in runs])}
            for name, runs in pairs.items()
            if runs
        }
        cells = [
            f"{name}: p99 {s['alone_p99_ms']:.1f} -> {s['beside_p99_ms']:.1f} ms"
            for name, s in result[greed.name].items()
        ]
        print(f"{'polite beside: ' + greed.name:40} " + " | ".join(cells), flush=True)
    return result


def _alone_and_beside(program: Path, system: System, greed: Greed, seconds: int) -> tuple[float, float]:
    for queue in (_POLITE_QUEUE, _GREEDY_QUEUE):
        declare(system.ports[0], queue, {"x-queue-type": "quorum"})
    port = system.leader_port(_POLITE_QUEUE)
    try:
        alone = polite(program, port, _POLITE_QUEUE, seconds)
        command = _command(program, port, _GREEDY_QUEUE, greed.arguments, seconds + 4)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as greedy:
            try:
                time.sleep(2)  # it is at full speed
                beside = polite(program, port, _POLITE_QUEUE, seconds)
                if greedy.poll() not in (None, 0):
                    raise RuntimeError("the greedy client failed")
            finally:
                greedy.kill()
    finally:
        with channel_to(port) as channel:
            for queue in (_POLITE_QUEUE, _GREEDY_QUEUE):
                channel.queue_delete(queue)
    return alone["confirm_us"]["p99"] / 1000, beside["confirm_us"]["p99"] / 1000


def polite(program: Path, port: int, queue: str, seconds: int) -> Answer:
    """The polite client's figures. Raises RuntimeError when it found something wrong."""
    command = _command(program, port, queue, POLITE, seconds)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[-300:]}")
    answer: Answer = json.loads(done.stdout)
    return answer


def _command(program: Path, port: int, queue: str, arguments: str, seconds: int) -> list[str]:
    host = f"127.0.0.1:{port}"
    options = ["--warmup", "1", "--duration", str(seconds), "--keep"]
    return [str(program), "--pub", host, "--con", host, "--queue", queue, *arguments.split(), *options]
