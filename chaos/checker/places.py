"""Where a message is: in one place after it died, in all places or none after a transaction, with one consumer at a
time where that was asked for."""

from __future__ import annotations

from chaos.checker.finding import Finding
from chaos.checker.trail import ConsumerSeen, Delivery, Trail
from chaos.history import How, MessageId, Queue, Transaction


def dead_letters(trail: Trail) -> Finding:
    """A message is settled in its queue, or it died there and is among that queue's dead: never both, never neither.
    It died of what it could die of.

    Where two consumers answered, one of them on a node that was out of touch, either answer may have been the first.
    What is dead at the end of a run that was interrupted may be on its way.
    """
    finding = Finding("dead letters")
    for source in trail.queues.values():
        if source.dead_letters and trail.is_finished:
            _buried(trail, source, finding)
    return finding


def _buried(trail: Trail, source: Queue, finding: Finding) -> None:
    here, there = trail.of(source.name), trail.of(source.dead_letters)
    for message in {**here, **there}:
        if source.name not in trail.streams[message[0]].queues:
            continue
        lives, deaths = here.get(message, []), there.get(message, [])
        sure = {one.how for one in lives if trail.counts(one)}
        maybe = {one.how for one in lives if not trail.counts(one)}
        reasons = _reasons(source, sure, maybe)
        well = (
            not ("ack" in sure and deaths and "reject" not in maybe)
            and not ("reject" in sure and not deaths and "ack" not in maybe)
            and all(one.died in reasons and one.from_queue == source.name for one in deaths)
        )
        if finding.check(holds=well):
            finding.show(f"{trail.tell(source.name, message)} | {trail.tell(source.dead_letters, message)}")


def _reasons(source: Queue, sure: set[How | None], maybe: set[How | None]) -> set[str]:
    """What a message may have died of, consumers having answered so."""
    if "reject" in sure:
        return {"rejected"}
    possible = {
        "rejected": "reject" in sure | maybe,
        "expired": source.expires,
        "maxlen": source.overflows,
        "delivery_limit": source.delivery_limit is not None,
    }
    return {reason for reason, may_be in possible.items() if may_be}


def transactions(trail: Trail) -> Finding:
    """What was committed is in every queue, what was rolled back in none; without an answer, all or nothing.

    Whether its queues are in one shard or in several. Of a run that was interrupted only this can be said: what was
    rolled back is nowhere.
    """
    finding = Finding("transactions")
    for one in trail.transactions:
        if not trail.is_finished and one.outcome != "rolled-back":
            continue
        stream = trail.streams[one.s]
        places = [(queue, (one.s, number)) for queue in stream.queues for number in range(one.first, one.end)]
        present = [bool(trail.of(queue).get(message)) for queue, message in places]
        if finding.check(holds=_is_whole(one, present)):
            missing = [place for place, there in zip(places, present, strict=True) if not there]
            finding.show(f"{one.outcome} {one.s}/{one.first}..{one.end} into {stream.queues}: not in {missing}")
    return finding


def _is_whole(one: Transaction, present: list[bool]) -> bool:
    if one.outcome == "committed":
        return all(present)
    if one.outcome == "rolled-back":
        return not any(present)
    return all(present) or not any(present)


def single_active(trail: Trail) -> Finding:
    """A queue with a single active consumer turns to another one only when that one is gone, as far as its node is
    there to tell. What a consumer gets after it has asked to go does not count."""
    finding = Finding("single active")
    for queue in trail.queues.values():
        if not queue.single_active:
            continue
        given: list[tuple[float, Delivery, MessageId]] = [
            (one.at, one, message) for message, seen in trail.of(queue.name).items() for one in seen
        ]
        given.sort(key=lambda row: row[0])
        active: ConsumerSeen | None = None
        last = 0.0
        for at, one, message in given:
            consumer = trail.consumers[one.consumer]
            if at > consumer.ended:
                continue
            well = active is None or active is consumer or _has_left(trail, active, consumer, last, at)
            if finding.check(holds=well):
                assert active is not None
                finding.show(f"{active.name} was there when {consumer.name} got {trail.tell(queue.name, message)}")
            active, last = consumer, at
    return finding


def _has_left(trail: Trail, before: ConsumerSeen, after: ConsumerSeen, last: float, at: float) -> bool:
    """Whether `after` may be given something at `at`, `before` having had something at `last`."""
    return before.ended <= at or trail.disturbed(before.node, last, at) or trail.disturbed(after.node, after.began, at)
