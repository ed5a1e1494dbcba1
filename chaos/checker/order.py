"""In which order messages come: as they were published, also those that had been away.

Law: a place in a queue is compared within one publishing channel. What a message went through that no client saw may
have been anything: a consumer that ended may have held it unseen, and so may one of a node that was out of touch.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from chaos.checker.faults import NEVER
from chaos.checker.finding import Finding
from chaos.checker.trail import ARRIVAL_SECONDS, Delivery, Trail
from chaos.history import MessageId, Number

Arrivals = dict[str, list[tuple[float, Number]]]
"""Consumer -> (when, number) of the messages of one stream that it was the first to get, by time."""


def order(trail: Trail) -> Finding:
    """First deliveries of one publishing channel's messages come to a consumer in the order of publishing.

    So do those that only say that they may have been delivered; and what came back comes before what was published
    after it: unless somebody may have had it meanwhile whom nobody knows of.
    """
    finding = Finding("order")
    for queue, messages in trail.deliveries.items():
        traits = trail.queues.get(queue)
        if traits is not None and traits.deduplicates:
            continue  # a second try comes when it comes
        _as_new(finding, queue, messages, trail)
        arrivals: dict[str, Arrivals] = {}
        for (stream, number), deliveries in messages.items():
            if queue in trail.streams[stream].queues:
                first = deliveries[0]
                arrivals.setdefault(stream, {}).setdefault(first.consumer, []).append((first.at, number))
        for stream, consumers in arrivals.items():
            for consumer, arrived in consumers.items():
                # Records of one moment stand in the order of writing, which sorting by time alone keeps.
                arrived.sort(key=lambda pair: pair[0])
                _in_turn(finding, trail, queue, stream, consumer, arrived)
        for message, deliveries in messages.items():
            if message[0] in arrivals:
                for one, other in pairwise(deliveries):
                    _in_its_place(finding, trail, queue, message, one, other, arrivals[message[0]])
    return finding


def _as_new(finding: Finding, queue: str, messages: dict[MessageId, list[Delivery]], trail: Trail) -> None:
    """What is called a first delivery comes in order, whatever happens."""
    arrivals: dict[tuple[str, str], list[tuple[float, Number]]] = {}
    for (stream, number), deliveries in messages.items():
        if queue not in trail.streams[stream].queues:
            continue  # dead letters come in the order in which they died
        for one in deliveries:
            if not one.redelivered:
                arrivals.setdefault((stream, one.consumer), []).append((one.at, number))
    for (stream, consumer), arrived in arrivals.items():
        arrived.sort(key=lambda pair: pair[0])
        latest = 0
        for _, number in arrived:
            if finding.check(holds=number > latest):
                finding.show(f"{queue}: {consumer} got {stream}/{number} after {latest}")
            latest = max(latest, number)


def _in_turn(
    finding: Finding, trail: Trail, queue: str, stream: str, consumer: str, arrived: list[tuple[float, Number]]
) -> None:
    """What comes for the first time, whatever its flag says, comes in order."""
    latest = 0
    for at, number in arrived:
        if number < latest and not trail.of(queue)[stream, number][0].redelivered:
            continue  # counted where it is called a first one
        holds = number > latest or _may_have_been_away(trail, queue, trail.streams[stream].began_at(number), at)
        if number < latest and finding.check(holds=holds):
            finding.show(f"{queue}: {consumer} got {stream}/{number}, which nobody had, after {latest}")
        latest = max(latest, number)


def _in_its_place(
    finding: Finding,
    trail: Trail,
    queue: str,
    message: MessageId,
    one: Delivery,
    other: Delivery,
    arrivals: Arrivals,
) -> None:
    """Between `one`, which came back, and `other` nobody was the first to get what was published later.

    Who heard that it is back gets nothing else after that; what others get may be on its way a little longer.
    """
    ended = trail.consumers[one.consumer].ended
    if one.how == "requeue" and trail.counts(one):
        since, back = one.settled, one.committed
    elif one.how != "ack" and ended < other.at:
        since = back = ended
    else:
        return
    if _may_have_been_away(trail, queue, since, other.at, besides=ended if since == ended else NEVER):
        return
    for consumer, arrived in arrivals.items():
        knows = consumer == one.consumer and back != ended
        from_when = back if knows else back + ARRIVAL_SECONDS
        until = other.at if consumer == other.consumer else other.at - ARRIVAL_SECONDS
        last = bisect_left(arrived, until, key=lambda pair: pair[0]) - 1
        if last < 0 or arrived[last][0] <= from_when:
            continue
        if finding.check(holds=arrived[last][1] < message[1]):
            finding.show(f"{consumer} got {message[0]}/{arrived[last][1]} before {trail.tell(queue, message)}")


def _may_have_been_away(trail: Trail, queue: str, since: float, until: float, besides: float = NEVER) -> bool:
    """May somebody have held a message between two moments who left no trace of it? Not a consumer that ended at
    `besides`."""
    known = int(since - ARRIVAL_SECONDS <= besides <= until)
    is_felt = any(fault.nodes for fault in trail.felt(since, until))
    return is_felt or trail.goodbyes(queue, since - ARRIVAL_SECONDS, until) > known
