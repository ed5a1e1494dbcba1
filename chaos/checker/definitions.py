"""What is answered about a definition is so everywhere.

Law: each name is declared and deleted by one client, step by step, so that the state of a name is known except between
asking and answer, and after an answer that never came.
"""

from __future__ import annotations

from chaos.checker.finding import Finding
from chaos.checker.trail import Trail
from chaos.history import Defined, Looked


def definitions(trail: Trail) -> Finding:
    """After declare-ok every node shows the queue, after delete-ok none does.

    A node that is out of touch may still show what it was not told of the deletion, and take it for what is declared.
    """
    finding = Finding("definitions")
    steps: dict[str, list[Defined]] = {}
    for step in trail.defined:
        steps.setdefault(step.name, []).append(step)
    for look in trail.looked:
        expected = _expected(trail, steps.get(look.name, []), look)
        if expected is None:
            continue
        stale = look.seen and not expected and trail.disturbed(look.node, look.asked, look.t)
        if finding.check(holds=look.seen == expected or stale):
            known = [(step.op, step.node, step.asked, step.t, step.known) for step in steps[look.name]]
            what = f"{look.name} was {'seen' if look.seen else 'missing'} on node {look.node} at {look.t:.3f}"
            finding.show(f"{what}, asked at {look.asked:.3f}: {known}")
    return finding


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
