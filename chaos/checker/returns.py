"""How often messages came back, and what that has to do with when they die.

Law: a return that was answered for counts; one that nobody saw may count. What was on its way to a consumer when that
ended comes back unseen, and so may what a leader had given, or was about to give, when it went.
"""

from __future__ import annotations

from chaos.checker.finding import Finding
from chaos.checker.trail import ARRIVAL_SECONDS, Delivery, Trail
from chaos.history import NO_COUNT, MessageId, Queue

HOMECOMING_SECONDS = 30.0
"""So long after a fault leaders may go back to where they belong, one at a time."""
RETURNS_OF_A_FAULT, RETURNS_A_SECOND = 3, 0.2
"""Of one message that a fault may bring about unseen: a leader goes, a node is lost, a leader comes home; and while it
lasts that may happen again."""


def counts(trail: Trail) -> Finding:
    """Where x-delivery-count is exact, it is never less than the deliveries that were provably returned, and never more
    than those that may have been. A message dies of its delivery limit when it came back more often, and then at once.
    """
    finding = Finding("counts")
    for queue, messages in trail.deliveries.items():
        traits = trail.queues.get(queue)
        if traits is None or not traits.counted:
            continue
        for message, deliveries in messages.items():
            for index, one in enumerate(deliveries):
                _count(finding, trail, traits, message, deliveries[:index], one)
    for traits in trail.queues.values():
        if traits.delivery_limit is not None and traits.dead_letters:
            _deaths(finding, trail, traits, traits.delivery_limit)
    return finding


def _count(
    finding: Finding, trail: Trail, traits: Queue, message: MessageId, earlier: list[Delivery], one: Delivery
) -> None:
    queue = traits.name
    before = sum(1 for other in earlier if _was_returned(trail, other, one))
    if (
        before
        and not trail.may_be_late(one, earlier[0].at)
        and finding.check(holds=one.count != NO_COUNT and one.count >= before)
    ):
        finding.show(f"{before} returns before: {trail.tell(queue, message)}")
    if one.count <= 0:
        return
    most = _most(trail, queue, message, len(earlier), one.at)
    if finding.check(holds=one.count <= most):
        finding.show(f"{most} returns before {one.at:.3f} at most: {trail.tell(queue, message)}")
    limit = traits.delivery_limit
    if limit is not None and finding.check(holds=one.count <= limit):
        finding.show(f"came again beyond {limit} returns: {trail.tell(queue, message)}")


def _deaths(finding: Finding, trail: Trail, traits: Queue, limit: int) -> None:
    """Of too many returns: there were as many."""
    here = trail.of(traits.name)
    for message, deaths in trail.of(traits.dead_letters).items():
        dead = deaths[0]
        if dead.died != "delivery_limit":
            continue
        lives = sum(1 for one in here.get(message, []) if one.at <= dead.at)
        most = _most(trail, traits.name, message, lives, dead.at)
        if finding.check(holds=most > limit):
            finding.show(f"dead after {most} returns at most: {trail.tell(traits.name, message)}")


def _most(trail: Trail, queue: str, message: MessageId, seen: int, at: float) -> int:
    """How often a message that was delivered `seen` times may have come back by `at`."""
    published = trail.streams[message[0]].began_at(message[1])
    unseen = trail.goodbyes(queue, published - ARRIVAL_SECONDS, at)
    for fault in trail.felt(published - HOMECOMING_SECONDS, at):
        lasted = min(fault.over, at) - max(fault.began, published)
        unseen += RETURNS_OF_A_FAULT + int(max(0.0, lasted) * RETURNS_A_SECOND)
    return seen + unseen


def _was_returned(trail: Trail, other: Delivery, one: Delivery) -> bool:
    """Is it proven that `other` was given back before `one` was handed out?

    By a synchronous reply between them; or by `one` itself, as nobody else gets what an undisturbed consumer holds.
    """
    if other.how != "requeue":
        return False
    if other.committed < one.at:
        return trail.counts(other)
    stayed = one.at < trail.consumers[other.consumer].ended
    return other.settled <= one.at and stayed and not trail.disturbed(trail.node_of(other), other.at, one.at)
