"""Whole clusters under random faults, one after the other.

    python -m tests.simulation --seeds 50 [--first 0] [--seconds 20] [--verbose]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback

from tests.simulation.world import reasons, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seconds", type=float, default=20.0, help="virtual seconds in which things go wrong")
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    options = parser.parse_args()
    logging.getLogger("cluster").addHandler(logging.NullHandler())
    failed: list[int] = []
    for seed in range(options.first, options.first + options.seeds):
        began = time.perf_counter()
        try:
            history = simulate(seed, seconds=options.seconds, say=print if options.verbose else lambda line: None)
        except Exception as error:  # noqa: BLE001 - any end but a good one is a finding
            failed.append(seed)
            print(f"seed {seed} FAILED after {time.perf_counter() - began:.1f} s")
            for reason in reasons(error):
                print("".join(traceback.format_exception(reason)))
            print(f"again: python -m tests.simulation --seeds 1 --first {seed} --seconds {options.seconds} --verbose")
            continue
        t = history.tally
        print(
            f"seed {seed} {history.trace} {time.perf_counter() - began:.1f} s: {t.published} published, "
            f"{t.confirmed} confirmed, {t.refused} refused, {t.delivered} delivered, {t.redelivered} again, "
            f"{t.acked} acked, {t.rejected} rejected, {t.died} died, {t.declared} declared, "
            f"{history.messages} messages; {' '.join(history.faults)}",
            flush=True,
        )
    print(f"{options.seeds - len(failed)} of {options.seeds} seeds hold" + (f"; failed: {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
