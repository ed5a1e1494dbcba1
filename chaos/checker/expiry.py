"""Whether messages live as long as they may, and no longer.

Law: a message's age begins between its publish and its confirm. Leaders' clocks may be a tenth fast or slow; where one
was set, nothing is said until that is made up for. A node that starts while its clock is wrong begins with that.
"""

from __future__ import annotations

from chaos.checker.finding import Finding
from chaos.checker.trail import CONFIRMED, Trail
from chaos.history import MessageId, Queue

CLOCK_RATE = 1.1
EARLY_SECONDS = 0.05
"""By which the clocks of two nodes of one machine may differ."""
LATE_SECONDS = 4.0
"""What a delivery may be on its way."""


def expiry(trail: Trail) -> Finding:
    """Nothing dies of age before its time, and nothing is handed out that is too old."""
    finding = Finding("expiry")
    for traits in trail.queues.values():
        if traits.expires:
            _early(finding, trail, traits)
            _late(finding, trail, traits)
    return finding


def _early(finding: Finding, trail: Trail, traits: Queue) -> None:
    for message, deaths in trail.of(traits.dead_letters).items():
        stream = trail.streams[message[0]]
        life, dead = trail.life_of(stream, traits.name), deaths[0]
        if dead.died != "expired" or dead.from_queue != traits.name or not life:
            continue
        published = stream.began_at(message[1])
        if _is_excused(trail, published, dead.at):
            continue
        if finding.check(holds=dead.at - published >= life / CLOCK_RATE - EARLY_SECONDS):
            finding.show(f"{_age(dead.at - published, life)} among the dead: {_name(message)} of {traits.name}")


def _late(finding: Finding, trail: Trail, traits: Queue) -> None:
    for message, deliveries in trail.of(traits.name).items():
        stream = trail.streams[message[0]]
        life = trail.life_of(stream, traits.name)
        if not life or stream.answer(message[1]) != CONFIRMED:
            continue
        confirmed = stream.settled_at.get(message[1])
        if confirmed is None:  # it was sent elsewhere
            continue
        for one in deliveries:
            age = one.at - confirmed
            is_delayed = trail.may_be_late(one, one.at - LATE_SECONDS)
            if not (is_delayed or _is_excused(trail, confirmed, one.at)) and finding.check(
                holds=age <= life * CLOCK_RATE + LATE_SECONDS
            ):
                finding.show(f"{_age(age, life)} delivered: {trail.tell(traits.name, message)}")


def _is_excused(trail: Trail, since: float, until: float) -> bool:
    """Was a clock wrong between two moments? What a node has followed it is made up for in as much time."""
    for fault in trail.faults.values():
        if fault.clocks and fault.began <= until:
            may_have_started = any(trail.disturbed(node, fault.began, fault.over) for node in fault.clocks)
            if may_have_started or since <= 2 * fault.over - fault.began:
                return True
    return False


def _age(age: float, life: float) -> str:
    return f"{age:.3f} s old of {life:g} s when"


def _name(message: MessageId) -> str:
    return f"{message[0]}/{message[1]}"
