"""Whole clusters under random faults, one after the other.

    python -m tests.simulation --seeds 50 [--first 0] [--seconds 20] [--cast common|traits] [--verbose]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter
from typing import get_args

from tests.simulation.world import Cast, reasons, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seconds", type=float, default=20.0, help="virtual seconds in which things go wrong")
    parser.add_argument("--cast", choices=get_args(Cast), action="append", help="who plays; both without it")
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    options = parser.parse_args()
    logging.getLogger("cluster").addHandler(logging.NullHandler())
    casts: list[Cast] = options.cast or list(get_args(Cast))
    plays = [(seed, cast) for seed in range(options.first, options.first + options.seeds) for cast in casts]
    failed: list[tuple[int, str]] = []
    checks: Counter[str] = Counter()
    healed_seconds = 0.0
    cpu_began = time.process_time()
    for seed, cast in plays:
        began = time.perf_counter()
        say = print if options.verbose else lambda line: None
        try:
            history = simulate(seed, seconds=options.seconds, cast=cast, say=say)
        except Exception as error:  # noqa: BLE001 - any end but a good one is a finding
            failed.append((seed, cast))
            print(f"seed {seed} {cast} FAILED after {time.perf_counter() - began:.1f} s")
            for reason in reasons(error):
                print("".join(traceback.format_exception(reason)))
            again = f"--seeds 1 --first {seed} --seconds {options.seconds} --cast {cast}"
            print(f"again: python -m tests.simulation {again} --verbose", flush=True)
            continue
        checks += history.checks
        healed_seconds = max(healed_seconds, history.healed_seconds)
        t = history.tally
        told = f"{t.published} published, {t.confirmed} confirmed, {t.refused} refused, {t.delivered} delivered, "
        told += f"{t.redelivered} again, {t.acked} acked, {t.rejected} rejected, {t.died} died, {t.declared} declared, "
        if cast == "traits":
            told = f"{sum(history.checks.values())} checks, "
        told += f"{history.messages} messages, healed in {history.healed_seconds:.1f} s; {' '.join(history.faults)}"
        print(f"seed {seed} {cast} {history.trace} {time.perf_counter() - began:.1f} s: {told}", flush=True)
    print("checked: " + ", ".join([f"{name} {number}" for name, number in sorted(checks.items())]))
    seconds = options.seconds * len(plays)
    print(f"{seconds:.0f} cluster-seconds of faults in {time.process_time() - cpu_began:.0f} s of processor time")
    print(f"everything was at rest at the latest {healed_seconds:.1f} s after the last fault")
    print(f"{len(plays) - len(failed)} of {len(plays)} plays hold" + (f"; failed: {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
