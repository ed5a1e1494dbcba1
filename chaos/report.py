"""What a run leaves behind: verdict.json, timeline.png and report.html in its directory.

Law: everything in a report comes from the history and its verdict, so that it can be made again from them. The page is
one file that needs nothing else.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot

from chaos.checker.availability import gaps
from chaos.checker.faults import NEVER
from chaos.checker.trail import Trail
from chaos.checker.verdict import INVARIANTS, Verdict
from chaos.history import AnyRecord, Confirmed, Delivered, Published, Transaction
from chaos.strikes.catalogue import FAULTS, meaning

GAP_SHOWN_SECONDS = 0.5
_COLOURS = ("tab:red", "tab:orange", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan", "tab:gray")
_STYLE = """body{font-family:sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left;vertical-align:top}
td.n{text-align:right}.bad{background:#fdd}.good{background:#dfd}code,pre{background:#f4f4f4;white-space:pre-wrap}
img{max-width:100%}"""


class Rates:
    """Messages in each second of a run. Fed with the records as they are read."""

    def __init__(self) -> None:
        self.published: Counter[int] = Counter()
        self.confirmed: Counter[int] = Counter()
        self.delivered: Counter[int] = Counter()

    def take(self, record: AnyRecord) -> AnyRecord:
        """The record, counted."""
        match record:
            case Published():
                self.published[int(record.t)] += record.end - record.first
            case Confirmed():
                self.confirmed[int(record.t)] += record.end - record.first
            case Transaction(outcome="committed"):
                self.confirmed[int(record.t)] += record.end - record.first
            case Delivered():
                self.delivered[int(record.t)] += 1
        return record


def plot(trail: Trail, rates: Rates) -> bytes:
    """A PNG: rates, the faults under them, times without a majority, and gaps in confirms."""
    start = trail.began.t if trail.began else 0.0
    figure, (above, below) = pyplot.subplots(
        2, 1, sharex=True, figsize=(14, 8), height_ratios=(3, 2), layout="constrained"
    )
    for name, counter in (
        ("published", rates.published),
        ("confirmed", rates.confirmed),
        ("delivered", rates.delivered),
    ):
        if counter:
            seconds = range(min(counter), max(counter) + 1)
            above.plot([s - start for s in seconds], [counter[s] for s in seconds], label=name, linewidth=1)
    for span in trail.without_majority():
        above.axvspan(span.since - start, min(span.until, trail.ended) - start, color="0.85")
    for gap in gaps(trail):
        if gap.seconds >= GAP_SHOWN_SECONDS:
            above.plot([gap.since - start, gap.since - start + gap.seconds], [0, 0], color="tab:red", linewidth=5)
    above.set_ylabel("messages a second")
    if rates.published or rates.confirmed or rates.delivered:
        above.legend(loc="upper right")
    above.set_title("grey: no majority; red at the bottom: a queue's publishers waited for a confirm")
    kinds = sorted({fault.kind for fault in trail.faults.values()})
    for fault in trail.faults.values():
        row = kinds.index(fault.kind)
        colour = _COLOURS[row % len(_COLOURS)]
        mended = min(fault.mended, trail.ended)
        below.barh(row, mended - fault.began, left=fault.began - start, color=colour)
        below.barh(row, min(fault.over, trail.ended) - mended, left=mended - start, color=colour, alpha=0.35)
    below.set_yticks(range(len(kinds)), kinds)
    below.set_xlabel("seconds (pale: until the cluster was healthy)")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90)
    pyplot.close(figure)
    return picture.getvalue()


def write(directory: Path, trail: Trail, verdict: Verdict, rates: Rates, about: dict[str, Any]) -> Path:
    """All three files. `about` says how the run was made; `about["repeat"]` is the command. Returns the page."""
    document = about | verdict.document() | {"faults": _faults(trail), "line": verdict.line()}
    (directory / "verdict.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    picture = plot(trail, rates)
    (directory / "timeline.png").write_bytes(picture)
    page = directory / "report.html"
    page.write_text(_page(trail, verdict, about, picture), encoding="utf-8")
    return page


def _faults(trail: Trail) -> list[dict[str, Any]]:
    start = trail.began.t if trail.began else 0.0
    worst: Counter[int] = Counter()
    for gap in gaps(trail):
        for fault in trail.faults.values():
            if gap.since <= fault.over and fault.began <= gap.since + gap.seconds:
                worst[fault.number] = max(worst[fault.number], int(gap.seconds * 1000))
    return [
        {
            "number": fault.number,
            "kind": fault.kind,
            "nodes": list(fault.nodes),
            "began_seconds": round(fault.began - start, 3),
            "lasted_seconds": round(fault.mended - fault.began, 3) if fault.mended != NEVER else None,
            "healthy_after_seconds": round(fault.over - fault.mended, 3) if fault.over != NEVER else None,
            "longest_gap_ms": worst[fault.number],
        }
        for fault in trail.faults.values()
    ]


def _page(trail: Trail, verdict: Verdict, about: dict[str, Any], picture: bytes) -> str:
    figures = verdict.document()["figures"]
    image = base64.b64encode(picture).decode()
    faults = _faults(trail)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>chaos report</title>",
        f"<style>{_STYLE}</style><h1>{verdict.word.capitalize()}</h1>",
        f"<p>{html.escape(verdict.line())}</p>",
        f"<p>Again: <code>{html.escape(str(about.get('repeat', '')))}</code> (the seed repeats which faults come, "
        "in which order and for how long; timing, and who leads, is the machine's)</p>",
        f"<img alt='timeline' src='data:image/png;base64,{image}'>",
        "<h2>Invariants</h2>",
        _table(("invariant", "says", "checks", "broken", "figures"), [_row(verdict, name) for name in INVARIANTS]),
    ]
    for finding in verdict.findings:
        if finding.examples:
            lines = html.escape("\n".join(finding.examples))
            parts.append(f"<h3>{html.escape(finding.name)}</h3><pre>{lines}</pre>")
    if trail.stuck:
        parts.append(f"<h3>stuck</h3><pre>{html.escape(chr(10).join(one.why for one in trail.stuck))}</pre>")
    kinds = sorted({fault.kind for fault in trail.faults.values() if fault.kind in FAULTS})
    parts += [
        "<h2>Figures</h2>",
        _table(("", ""), [(name.replace("_", " "), value) for name, value in figures.items()]),
        "<h2>Faults</h2>",
        _table(
            ("kind", "is", "times"), [(kind, meaning(kind), sum(f["kind"] == kind for f in faults)) for kind in kinds]
        ),
        "<p></p>",
        _table(tuple(faults[0]) if faults else (), [tuple(fault.values()) for fault in faults]),
        "<h2>Made by</h2>",
        _table(("", ""), [(key, json.dumps(value)) for key, value in about.items()]),
        "</html>",
    ]
    return "\n".join(parts)


def _row(verdict: Verdict, name: str) -> tuple[object, ...]:
    finding = next(one for one in verdict.findings if one.name == name)
    says = " ".join((INVARIANTS[name].__doc__ or "").split())
    measures = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in finding.measures.items())
    claimed = "" if name in verdict.claims else " (not claimed)"
    return name + claimed, says, finding.checks, finding.broken, measures


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    cells = [
        "<table>",
        "<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in head) + "</tr>" if any(head) else "",
    ]
    for row in rows:
        marked = " class='bad'" if "broken" in head and row[head.index("broken")] else ""
        cells.append(f"<tr{marked}>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>")
    return "\n".join([*cells, "</table>"])
