"""Kills the leader of a queue again and again, while clients publish and consume through all nodes.

Law: it starts its own cluster and its own clients and ends with them; it stops by itself when the time is over. The
last line on stdout is the verdict, and the exit code is 0 only if every promise was kept: 1 if one was broken, 2 for
a wrong command line. The seed on the first line repeats the choices (which queue, how long), not the timing.

    python chaos/kill_leader.py --duration 300 --rate 1000 --mode kill
    python chaos/kill_leader.py --faults 20 --queues 8 --mode any
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.faults import MODES, Campaign
from chaos.ledger import Verdict
from chaos.load import Assignment, RemoteLoad, serve
from chaos.local_cluster import LocalCluster
from chaos.look import messages

WARM_UP_SECONDS = 2.0
DRAIN_SECONDS = 60.0
"""How long what was confirmed may take to be delivered once nothing is published any more."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="kill_leader", description="Strike leaders, judge what clients saw.")
    parser.add_argument("--duration", type=float, default=300.0, help="seconds in which faults begin (default 300)")
    parser.add_argument("--rate", type=float, default=1000.0, help="messages a second over all publishers")
    parser.add_argument("--seed", type=int, default=None, help="of the choices (default: a new one)")
    parser.add_argument("--mode", choices=MODES, default="kill", help="see chaos/faults.py (default kill)")
    parser.add_argument("--queues", type=int, default=2, help="durable queues (default 2)")
    parser.add_argument("--faults", type=int, default=0, help="stop after so many (default 0: by --duration)")
    parser.add_argument("--gap-max", type=float, default=5.0, help="longest pause in confirms, seconds (default 5)")
    parser.add_argument("--verdict", type=Path, default=None, help="JSON file (default .data/chaos/MODE-SEED.json)")
    asked = parser.parse_args()
    if asked.duration <= 0 or asked.rate <= 0 or asked.queues <= 0:
        parser.error("--duration, --rate and --queues must be more than 0")
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}: {asked.mode} for {asked.duration:g} s at {asked.rate:g} messages/s", flush=True)

    # Told to stop, it still takes its cluster with it.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    queues = [f"chaos-{number}" for number in range(asked.queues)]
    with LocalCluster() as cluster:
        ports = tuple([node.amqp_port for node in cluster.nodes])
        _declare(cluster, queues)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        assignment = Assignment(ports, tuple(queues), asked.rate, seed)
        process = context.Process(target=serve, args=(assignment, theirs), daemon=True)
        process.start()
        theirs.close()
        load = RemoteLoad(ours)
        try:
            stuck, verdict = _campaign(cluster, load, queues, asked, random.Random(seed))
        finally:
            ours.close()
            process.join(5)
            process.kill()
    too_long = verdict.worst_gap > asked.gap_max
    broken = list(verdict.broken)
    broken += [name for name, is_so in (("gap", too_long), ("stuck", stuck), ("no fault", not verdict.gaps)) if is_so]
    path = asked.verdict or Path(".data/chaos") / f"{asked.mode}-{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"seed": seed, "mode": asked.mode, "rate": asked.rate, "passed": not broken} | verdict.document()
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"verdict in {path}")
    print(_line(verdict, broken), flush=True)
    return 1 if broken else 0


def _declare(cluster: LocalCluster, queues: list[str]) -> None:
    connection = cluster.connect(0)
    channel = connection.channel()
    for queue in queues:
        channel.queue_declare(queue, durable=True)
    connection.close()


def _campaign(
    cluster: LocalCluster, load: RemoteLoad, queues: list[str], asked: argparse.Namespace, rng: random.Random
) -> tuple[bool, Verdict]:
    """Whether the cluster did not become healthy after a fault, and what the clients saw."""
    time.sleep(WARM_UP_SECONDS)
    campaign = Campaign(cluster, load, asked.mode, rng)
    stuck = False
    try:
        _strike_on(campaign, load, queues, asked)
    except AssertionError as error:
        print(f"stuck: {error}", flush=True)
        stuck = True
    load.stop_publishing()
    deadline = time.monotonic() + (0 if stuck else DRAIN_SECONDS)
    progress = load.progress()
    while (progress.waiting or progress.missing) and time.monotonic() < deadline:
        time.sleep(0.2)
        progress = load.progress()
    print(f"drained: {progress.waiting} unconfirmed, {progress.missing} undelivered", flush=True)
    while (left := messages(cluster, queues)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return stuck, load.finish(left)


def _strike_on(campaign: Campaign, load: RemoteLoad, queues: list[str], asked: argparse.Namespace) -> None:
    """Fault after fault. AssertionError when the cluster does not get over one."""
    began = time.monotonic()
    while time.monotonic() - began < asked.duration and (not asked.faults or campaign.number < asked.faults):
        if campaign.number:
            campaign.calm()
        line = campaign.strike(queues)
        progress = load.progress()
        print(
            f"{time.monotonic() - began:6.1f} s  {line};  published {progress.published:,}"
            f"  confirmed {progress.confirmed:,}  delivered {progress.delivered:,}",
            flush=True,
        )


def _line(verdict: Verdict, broken: list[str]) -> str:
    return (
        f"{'FAILED (' + ', '.join(broken) + ')' if broken else 'PASSED'}: {len(verdict.gaps)} faults, "
        f"published {verdict.published}, confirmed {verdict.confirmed}, delivered {verdict.delivered}, "
        f"lost {verdict.lost}, duplicated without redelivered flag {verdict.unflagged}, "
        f"duplicates to consumers on surviving nodes {verdict.twice_to_living}, phantom {verdict.phantom}, "
        f"out of order {verdict.disordered}, refused {verdict.refused}, "
        f"connections lost on surviving nodes {verdict.dropped}, left in the queues {verdict.left}, "
        f"redelivered {verdict.redelivered}, longest confirm gap worst {verdict.worst_gap:.3f} s "
        f"median {verdict.median_gap:.3f} s, without a fault {verdict.longest_calm_gap:.3f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
