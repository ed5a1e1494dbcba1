"""The judgement of a whole history.

Law: a claimed invariant passes when it was checked at least once and never broken. One that was not claimed is checked
all the same, and fails the run if it is broken. A history that claims nothing has not begun, and passes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from chaos.checker import messages
from chaos.checker.availability import availability, connections, minority, recovery
from chaos.checker.definitions import definitions
from chaos.checker.ending import disk, drained, replicas, same_cluster
from chaos.checker.expiry import expiry
from chaos.checker.finding import Finding
from chaos.checker.order import order
from chaos.checker.places import dead_letters, single_active, transactions
from chaos.checker.returns import counts
from chaos.checker.trail import CONFIRMED, REFUSED, Trail
from chaos.history import AnyRecord

Judge = Callable[[Trail], Finding]
INVARIANTS: dict[str, Judge] = {
    "answers": messages.answers,
    "lost": messages.lost,
    "phantom": messages.phantom,
    "settled": messages.settled,
    "flags": messages.flags,
    "once": messages.once,
    "counts": counts,
    "kept": messages.kept,
    "order": order,
    "expiry": expiry,
    "definitions": definitions,
    "single active": single_active,
    "transactions": transactions,
    "dead letters": dead_letters,
    "availability": availability,
    "minority": minority,
    "connections": connections,
    "recovery": recovery,
    "drained": drained,
    "same cluster": same_cluster,
    "replicas": replicas,
    "disk": disk,
}
"""By name. Each says in its docstring what it holds to be true."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of messages; the gap in seconds."""

    published: int
    confirmed: int
    refused: int
    delivered: int
    redelivered: int
    lost: int
    unflagged: int
    disordered: int
    faults: int
    longest_gap_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`unchecked` names what was claimed and never looked at. `missing` says what of the history is not there: then
    nothing has been proven, and what is broken may be for want of the rest."""

    figures: Figures
    findings: tuple[Finding, ...]
    claims: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def unchecked(self) -> tuple[str, ...]:
        return tuple([one.name for one in self.findings if one.name in self.claims and not one.checks])

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple([one.name for one in self.findings if one.broken])

    @property
    def passed(self) -> bool:
        return bool(self.claims) and not self.broken and not self.unchecked and not self.missing

    @property
    def word(self) -> Literal["passed", "failed", "incomplete"]:
        if self.missing:
            return "incomplete"
        return "passed" if self.passed else "failed"

    def line(self) -> str:
        """All of it in one line."""
        faults = [*self.missing, *[f"{name} broken" for name in self.broken]]
        faults += [f"{name} never checked" for name in self.unchecked]
        faults += [] if self.claims else ["nothing was claimed"]
        word = self.word.upper()
        one = self.figures
        return (
            f"{word}{' (' + ', '.join(faults) + ')' if faults else ''}: {one.faults} faults, "
            f"published {one.published}, confirmed {one.confirmed}, delivered {one.delivered}, lost {one.lost}, "
            f"duplicated without redelivered flag {one.unflagged}, out of order {one.disordered}, "
            f"refused {one.refused}, redelivered {one.redelivered}, longest gap {one.longest_gap_seconds:.3f} s"
        )

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "missing": list(self.missing),
            "broken": list(self.broken),
            "unchecked": list(self.unchecked),
            "claims": list(self.claims),
            "figures": {name: getattr(self.figures, name) for name in Figures.__slots__},
            "invariants": {
                one.name: {
                    "checks": one.checks,
                    "broken": one.broken,
                    "examples": one.examples,
                    "measures": one.measures,
                }
                for one in self.findings
            },
        }


def judge(records: Iterable[AnyRecord]) -> tuple[Trail, Verdict]:
    """The history in order, and what is to be said of it. ValueError when it claims what nobody can check."""
    trail = Trail(records)
    claims = tuple(trail.claims)
    strange = sorted(set(claims) - INVARIANTS.keys())
    if strange:
        raise ValueError(f"no such invariant: {', '.join(strange)}")
    findings = {name: check(trail) for name, check in INVARIANTS.items()}
    answers = [stream.answers for stream in trail.streams.values()]
    figures = Figures(
        published=sum(len(one) - 1 - one.count(0, 1) for one in answers),
        confirmed=sum(one.count(CONFIRMED) for one in answers),
        # What a client took back itself was not refused.
        refused=sum(one.answers.count(REFUSED) for one in trail.streams.values() if not one.transactions),
        delivered=messages.delivered(trail),
        redelivered=messages.duplicates(trail),
        lost=findings["lost"].broken,
        unflagged=findings["flags"].broken,
        disordered=findings["order"].broken,
        faults=len(trail.faults),
        longest_gap_seconds=findings["availability"].measures.get("longest_gap_seconds", 0.0),
    )
    return trail, Verdict(figures, tuple(findings.values()), claims)
