"""Plots of the stored figures, as PNG.

Law: a plot shows what a JSON report holds and computes nothing of its own; where there are several runs, it shows
their spread.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.cases import RATES, SIZES, rate_case, size_case

_COLOURS = {"cluster-mq": "tab:blue", "RabbitMQ": "tab:orange"}
_Point = tuple[float, float, float, float]
"""x, value, low, high."""


def draw_comparison(report: dict[str, Any], directory: Path) -> list[Path]:
    """Every plot of a report of `beside_rabbitmq` that it has figures for. Returns the files."""
    cases = report["cases"]
    files = [_by_size(cases, directory), _under_load(cases, directory), _cpu(cases, directory)]
    if report.get("failover"):
        files.append(_failover(report["failover"], directory))
    return [path for path in files if path is not None]


def draw_growth(report: dict[str, Any], directory: Path) -> list[Path]:
    """One plot for each curve of a report of `growth`."""
    files = []
    for name, curve in report["curves"].items():
        figure, axes = _figure(curve["says"], curve["x"], curve["y"])
        points = [(p["x"], p["value"], p["low"], p["high"]) for p in curve["points"]]
        _plot(axes, points, "cluster-mq")
        axes.set_xscale("symlog")
        if curve["y_scale"] == "linear":
            axes.set_ylim(0, 1.1 * max(high for _, _, _, high in points))
        axes.set_yscale(curve["y_scale"])
        files.append(_save(figure, directory / f"growth-{name}.png"))
    return files


def _by_size(cases: dict[str, Any], directory: Path) -> Path | None:
    found = {size: cases[size_case(size)] for size in SIZES if size_case(size) in cases}
    if len(found) < 2:
        return None
    figure, axes = _figure("Throughput by size of the body", "bytes", "messages/s, confirmed, delivered and acked")
    for system in _systems(found.values()):
        figures = [(size, s[system]) for size, s in found.items() if system in s]
        _plot(axes, [(size, f["value"], f["low"], f["high"]) for size, f in figures], system)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.legend()
    return _save(figure, directory / "throughput-by-size.png")


def _under_load(cases: dict[str, Any], directory: Path) -> Path | None:
    found = {rate: cases[rate_case(rate)] for rate in RATES if rate_case(rate) in cases}
    if len(found) < 2:
        return None
    figure, axes = _figure("Confirms under rising load", "messages/s offered", "milliseconds from when it was due")
    for system in _systems(found.values()):
        for key, style in (("p50_ms", ":"), ("p95_ms", "--"), ("p99_ms", "-")):
            points = [(rate, s[system][key]) for rate, s in found.items() if system in s]
            label = f"{system} {key[:3]}"
            axes.plot(*zip(*points, strict=True), style, marker=".", color=_COLOURS.get(system), label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend()
    return _save(figure, directory / "latency-under-load.png")


def _cpu(cases: dict[str, Any], directory: Path) -> Path | None:
    names = [name for name, systems in cases.items() if systems and all(s["cpu_us"] for s in systems.values())]
    if not names:
        return None
    figure, axes = _figure("Processor time of the brokers", "microseconds a message or cycle, all nodes", "")
    systems = _systems([cases[name] for name in names])
    height = 0.8 / len(systems)
    for at, system in enumerate(systems):
        rows = [(i, cases[name][system]["cpu_us"]) for i, name in enumerate(names) if system in cases[name]]
        places = [i + at * height for i, _ in rows]
        axes.barh(places, [us for _, us in rows], height, color=_COLOURS.get(system), label=system)
    axes.set_yticks([i + 0.4 - height / 2 for i in range(len(names))], names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.legend()
    return _save(figure, directory / "cpu-per-message.png")


def _failover(failover: dict[str, Any], directory: Path) -> Path:
    figure, axes = _figure("Longest pause in confirms when the leader is killed", "", "milliseconds")
    for at, (system, s) in enumerate(failover.items()):
        axes.bar(at, s["median_ms"], color=_COLOURS.get(system))
        axes.plot([at] * len(s["gaps_ms"]), s["gaps_ms"], "k.", markersize=5)
    axes.set_xticks(range(len(failover)), list(failover))
    return _save(figure, directory / "failover-gap.png")


def _systems(rows: Any) -> list[str]:
    return list(dict.fromkeys(system for row in rows for system in row))


def _figure(title: str, x: str, y: str) -> tuple[Any, Axes]:
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _plot(axes: Axes, points: Sequence[_Point], system: str) -> None:
    x, value, low, high = zip(*points, strict=True)
    below = [v - bound for v, bound in zip(value, low, strict=True)]
    above = [bound - v for v, bound in zip(value, high, strict=True)]
    axes.errorbar(x, value, (below, above), marker=".", capsize=3, color=_COLOURS.get(system), label=system)


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw a stored report again.")
    parser.add_argument("json", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    report = json.loads(options.json.read_text(encoding="utf-8"))
    draw = draw_growth if "curves" in report else draw_comparison
    for path in draw(report, options.directory):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
