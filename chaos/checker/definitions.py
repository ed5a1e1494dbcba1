"""What is answered about a definition is so everywhere.

Law: each name is declared and deleted by one client, step by step, so that the state of a name is known except between
asking and answer, and after an answer that never came.
"""

from __future__ import annotations

from chaos.checker.faults import AFTERMATH_SECONDS
from chaos.checker.finding import Finding
from chaos.checker.trail import Trail
from chaos.history import Defined, Looked

PATIENCE_SECONDS = 1.0
"""So long a node is waited for that does not say that it knows (see the guarantees)."""


def definitions(trail: Trail) -> Finding:
    """After declare-ok every node shows the queue, after delete-ok none does.

    A node that is out of touch may still show what it was not told of the deletion, and take it for what is declared.
    So may one that was not waited for, as long as the others show it no more.
    """
    finding = Finding("definitions")
    steps: dict[str, list[Defined]] = {}
    for step in trail.defined:
        steps.setdefault(step.name, []).append(step)
    seen: dict[str, list[Looked]] = {}
    for look in trail.looked:
        if look.seen:
            seen.setdefault(look.name, []).append(look)
    for look in trail.looked:
        expected = _expected(trail, steps.get(look.name, []), look)
        if expected is None:
            continue
        stale = (
            look.seen
            and not expected
            and (
                trail.disturbed(look.node, look.asked, look.t)
                or _was_not_waited_for(steps[look.name], seen[look.name], look)
            )
        )
        if finding.check(holds=look.seen == expected or stale):
            known = [(step.op, step.node, step.asked, step.t, step.known) for step in steps[look.name]]
            what = f"{look.name} was {'seen' if look.seen else 'missing'} on node {look.node} at {look.t:.3f}"
            finding.show(f"{what}, asked at {look.asked:.3f}: {known}")
    return finding


def _was_not_waited_for(steps: list[Defined], seen: list[Looked], look: Looked) -> bool:
    """May the node have been too slow to be told of the deletion, it alone, and a moment before?"""
    latest = max([step for step in steps if step.t <= look.asked], key=lambda step: step.t, default=None)
    if latest is None or latest.op == "declare" or look.node == latest.node:
        return False
    is_alone = all(other.node == look.node or other.asked < latest.t for other in seen)
    return is_alone and latest.t - latest.asked >= PATIENCE_SECONDS and look.asked - latest.t <= AFTERMATH_SECONDS


def _expected(trail: Trail, steps: list[Defined], look: Looked) -> bool | None:
    """Whether the name has to be there. None when that is not known."""
    state: bool | None = False
    for number, step in enumerate(steps):
        if step.t <= look.asked and step.known:
            is_stale = number > 0 and step.op == "declare" and trail.disturbed(step.node, step.asked, step.t)
            state = None if is_stale else step.op == "declare"
        elif step.asked < look.t:
            return None
    return state
