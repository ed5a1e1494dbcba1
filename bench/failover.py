"""The pause that clients of surviving nodes see when the leader of their queue is killed.

Law: the clients are at nodes that live on; the longest time without a confirm, while messages are due at a steady
rate, is the gap. The killed node is started again before the next round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.systems import System, channel_to, declare

RATE = 500
"""Messages a second."""
_QUEUE = "bench-failover"
_KILL_AFTER_SECONDS = 3.0
_SECONDS = 12


def measure(program: Path, systems: Sequence[System], *, repeat: int) -> dict[str, Any]:
    """System -> gaps in milliseconds, sorted by round, and their median. Prints a row."""
    gaps: dict[str, list[float]] = {system.name: [] for system in systems}
    for _ in range(repeat):
        for system in systems:
            try:
                gaps[system.name].append(_gap_ms(program, system))
            except RuntimeError as error:
                print(f"! {system.name}: failover: {error}", file=sys.stderr)
    result = {name: {"gaps_ms": values, "median_ms": median(values)} for name, values in gaps.items() if values}
    cells = [f"{name}: {s['median_ms']:.0f} ms {s['gaps_ms']}" for name, s in result.items()]
    print(f"{'killed leader, longest pause':40} " + " | ".join(cells), flush=True)
    return result


def _gap_ms(program: Path, system: System) -> float:
    """Raises RuntimeError when a confirmed message was lost."""
    declare(system.ports[0], _QUEUE, {"x-queue-type": "quorum"})
    leader = system.leader_port(_QUEUE)
    survivor = next(port for port in system.ports if port != leader)
    host = f"127.0.0.1:{survivor}"
    command = [
        str(program), "--pub", host, "--con", host, "--queue", _QUEUE, "--rate", str(RATE), "--window", "10000",
        "--duration", str(_SECONDS), "--keep",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        try:
            time.sleep(_KILL_AFTER_SECONDS)
            system.kill(leader)
            out, err = load.communicate(timeout=_SECONDS + 60)
        finally:
            load.kill()
            system.revive(leader)
    with channel_to(survivor) as channel:
        channel.queue_delete(_QUEUE)
    if load.returncode != 0:
        raise RuntimeError(f"exit {load.returncode}: {err.strip()[-300:]}")
    return float(json.loads(out)["max_confirm_gap_ms"])
