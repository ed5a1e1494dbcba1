"""Figures of several runs: medians, spread, and the table that is printed and stored.

Law: a figure is a median and never stands without its smallest and largest run. A run that failed is no figure.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

Answer = dict[str, Any]
"""What amqpload printed."""
Summary = dict[str, Any]
"""JSON: the figures of one system in one case, and all its runs."""


def summary(metric: str, runs: Sequence[Answer]) -> Summary:
    """`value`, `low` and `high` of `metric`; `cpu_us` a message or cycle over all nodes; confirms in milliseconds."""
    values = [float(run[metric]) for run in runs]
    confirms = [run.get("confirm_us", {}) for run in runs]
    return {
        "metric": metric,
        "value": median(values),
        "low": min(values),
        "high": max(values),
        "cpu_us": median([_cpu_us(run) for run in runs]),
        "p50_ms": median([float(confirm.get("p50", 0)) for confirm in confirms]) / 1000,
        "p95_ms": median([float(confirm.get("p95", 0)) for confirm in confirms]) / 1000,
        "p99_ms": median([float(confirm.get("p99", 0)) for confirm in confirms]) / 1000,
        "rate": median([float(run.get("consume_rate") or run.get("publish_rate") or 0) for run in runs]),
        "runs": list(runs),
    }


def _cpu_us(run: Answer) -> float:
    return float(run.get("broker_cpu_us_per_msg") or run.get("broker_cpu_us_per_cycle") or 0)


def environment(arguments: Sequence[str]) -> dict[str, Any]:
    """Where, when and how."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": list(arguments),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}",
        "python": platform.python_version(),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
        ).stdout.strip(),
        "load_before": os.getloadavg()[0],
    }


def line(name: str, summaries: dict[str, Summary]) -> str:
    """One row for people: ours and theirs with spread, and the ratio (above 1: ours is better)."""
    cells = []
    for system, s in summaries.items():
        unit = "cores" if s["metric"] == "broker_cores" else "/s"
        number = "{:.2f} {}" if unit == "cores" else "{:,.0f}{}"
        spread = f"({s['low']:.2f}-{s['high']:.2f})" if unit == "cores" else f"({s['low']:,.0f}-{s['high']:,.0f})"
        cell = f"{system}: {number.format(s['value'], unit)} {spread}, {s['cpu_us']:,.0f} us CPU"
        if s["p99_ms"]:
            cell += f", p50 {s['p50_ms']:.1f} p99 {s['p99_ms']:.1f} ms"
        cells.append(cell)
    ratio = ratio_of(list(summaries.values()))
    return f"{name:40} " + " | ".join(cells) + (f"  ratio {ratio:.1f}x" if ratio else "")


def ratio_of(summaries: Sequence[Summary]) -> float:
    """Of the first to the second, turned over where less is better; 0.0 without two figures."""
    if len(summaries) != 2 or not all(s["value"] for s in summaries):
        return 0.0
    ours, theirs = (float(s["value"]) for s in summaries)
    return theirs / ours if summaries[0]["metric"] == "broker_cores" else ours / theirs


def write_report(report: dict[str, Any], path: Path) -> None:
    """As JSON; the folders above are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1), encoding="utf-8")
