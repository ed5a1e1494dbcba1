"""Whole clusters under random faults, one after the other.

python -m tests.simulation --seeds 50 [--first 0] [--seconds 20] [--cast common] [--pace 1.0] [--verbose]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from chaos.arguments import positive
from tests.simulation import members, moving, world
from tests.simulation.casts import CASTS
from tests.simulation.faults import KINDS
from tests.simulation.plants import PLANTS
from tests.simulation.world import History, reasons

PLAYS: dict[str, Callable[..., History]] = {
    **{cast: partial(world.simulate, cast=cast) for cast in CASTS},
    "moving": lambda seed, **more: world.play(moving.MovingWorld, seed, **more)[0],
    "members": lambda seed, **more: world.play(members.MembersWorld, seed, **more)[0],
}


def count(text: str) -> int:
    """At least 1: what plays nothing holds nothing."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def fault_kinds(text: str) -> list[str]:
    """Kinds with commas between them."""
    kinds = text.split(",")
    strange = [kind for kind in kinds if kind not in KINDS]
    if strange:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(strange)} (there are {', '.join(KINDS)})")
    return kinds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=count, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seconds", type=positive, default=20.0, help="virtual seconds in which things go wrong")
    parser.add_argument("--cast", choices=PLAYS, action="append", help="who plays; all without it")
    parser.add_argument("--pace", type=positive, default=1.0, help="of the clients: 0.1 is a tenth of what they do")
    parser.add_argument(
        "--faults", type=fault_kinds, default=[], help="kinds of them, with commas between; the seed picks without it"
    )
    parser.add_argument("--plant", choices=PLANTS, help="a mistake to put in: plays that fail have found it")
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    options = parser.parse_args()
    logging.getLogger("cluster").addHandler(logging.NullHandler())
    planted = PLANTS.get(options.plant)
    kinds = options.faults or list(planted.kinds if planted else ())
    casts: list[str] = options.cast or ([planted.cast] if planted else list(PLAYS))
    plays = [(seed, cast) for seed in range(options.first, options.first + options.seeds) for cast in casts]
    failed: list[tuple[int, str]] = []
    checks: Counter[str] = Counter()
    healed_seconds = 0.0
    cpu_began = time.process_time()
    for seed, cast in plays:
        began = time.process_time()
        say = print if options.verbose else lambda line: None
        try:
            with planted.put_in() if planted else nullcontext():
                history = PLAYS[cast](seed, seconds=options.seconds, pace=options.pace, kinds=kinds, say=say)
        except Exception as error:  # noqa: BLE001 - any end but a good one is a finding
            failed.append((seed, cast))
            print(f"seed {seed} {cast} FAILED after {time.process_time() - began:.1f} s")
            for reason in reasons(error):
                print("".join(traceback.format_exception(reason)))
            again = f"--seeds 1 --first {seed} --seconds {options.seconds} --pace {options.pace} --cast {cast}"
            again += f" --faults {','.join(kinds)}" if kinds else ""
            again += f" --plant '{options.plant}'" if planted else ""
            print(f"again: python -m tests.simulation {again} --verbose", flush=True)
            continue
        checks += history.checks
        healed_seconds = max(healed_seconds, history.healed_seconds)
        t = history.tally
        told = f"{t.published} published, {t.confirmed} confirmed, {t.refused} refused, {t.delivered} delivered, "
        told += f"{t.redelivered} again, {t.acked} acked, {t.rejected} rejected, {t.died} died, {t.declared} declared, "
        if cast in ("traits", "full"):
            told = f"{sum(history.checks.values())} checks, "
        told += f"{history.messages} messages, healed in {history.healed_seconds:.1f} s; {' '.join(history.faults)}"
        print(f"seed {seed} {cast} {history.trace} {time.process_time() - began:.1f} s: {told}", flush=True)
    print("checked: " + ", ".join([f"{name} {number}" for name, number in sorted(checks.items())]))
    seconds = options.seconds * len(plays)
    print(f"{seconds:.0f} cluster-seconds of faults in {time.process_time() - cpu_began:.0f} s of processor time")
    print(f"everything was at rest at the latest {healed_seconds:.1f} s after the last fault")
    print(f"{len(plays) - len(failed)} of {len(plays)} plays hold" + (f"; failed: {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
