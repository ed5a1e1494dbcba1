"""What the broker costs as the work grows: one curve for each thing that grows.

    python -m bench.growth [--curves NAME,..] [--repeat 3] [--seconds 4] [--json FILE] [--plots DIRECTORY]

Law: only one thing grows along a curve, on a cluster of its own; each point is the median of `--repeat` runs with its
spread (one run, where it takes minutes), and every curve says in one line what it shows; `bench.curves` has them. Deep
queues, many queues and many clients are held to goals of their own: `bench.depth`, `bench.many_queues`,
`bench.many_clients`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.curves import CPU_KEY, CURVES, RATE_KEY, Curve, Stage
from bench.plots import draw_growth
from bench.results import environment, write_report
from bench.systems import Ours, build_load, take_all_files


def draw_points(curve: Curve, stage: Stage, repeat: int) -> list[dict[str, Any]]:
    """One row for each x: median, low and high of the figure, and all runs."""
    points = []
    system: Ours | None = None
    before = 0
    try:
        for x in curve.values:
            if system is None or len(system.ports) != curve.nodes(x):
                if system is not None:
                    system.stop()
                system, before = stage.cluster(curve.nodes(x), curve.message_size_max), 0
            curve.prepare(system, before, x)
            before = x
            is_once = curve.once_from is not None and x >= curve.once_from
            runs = [curve.measure(stage, system, x) for _ in range(1 if is_once else repeat)]
            values = [float(run[CPU_KEY]) for run in runs]
            points.append({"x": x, "value": median(values), "low": min(values), "high": max(values), "runs": runs})
            rate = median([float(run[RATE_KEY]) for run in runs])
            low_high = f"({min(values):,.1f}-{max(values):,.1f})"
            print(f"  {x:>10,} {curve.x}: {median(values):,.1f} {low_high} {curve.y}, {rate:,.0f}/s", flush=True)
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
    take_all_files()
    report: dict[str, Any] = {
        "environment": environment(sys.argv[1:] if arguments is None else arguments),
        "curves": {},
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        stage = Stage(build_load(Path(directory)), Path(directory), options.seconds)
        for name in options.curves.split(","):
            curve = CURVES[name]
            print(curve.says, flush=True)
            began = time.perf_counter()
            points = draw_points(curve, stage, options.repeat)
            print(f"  drawn in {time.perf_counter() - began:.0f} s", flush=True)
            report["curves"][name] = {
                "says": curve.says, "x": curve.x, "y": curve.y, "y_scale": curve.y_scale, "points": points,
            }  # fmt: skip
    if options.json:
        write_report(report, options.json)
    if options.plots:
        for path in draw_growth(report, options.plots):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
