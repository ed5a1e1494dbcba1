"""What becomes of messages: each is answered once, none is lost, none is made up, none comes back that was settled, and
flags never lie.

Law: a message that the broker took has to be answered for good by a consumer of each queue that it went to, or of the
queue where that one's dead go. Where a client's answer may not have arrived, nothing is held against the broker.
"""

from __future__ import annotations

from itertools import pairwise

from chaos.checker.finding import Finding
from chaos.checker.trail import OPEN, REFUSED, Delivery, Trail
from chaos.history import MessageId


def answers(trail: Trail) -> Finding:
    """Each publish is confirmed or refused, not both, and nothing is answered that was not published."""
    finding = Finding("answers")
    for stream in trail.streams.values():
        finding.checks += len(stream.answers) - 1 - stream.answers.count(OPEN)
        for number in stream.contradicted:
            finding.check(holds=False)
            finding.show(f"{stream.name}/{number} was answered twice, in two ways, or never published")
    return finding


def _is_gone(trail: Trail, queue: str, message: MessageId) -> bool:
    """Did a consumer take it for good, from the queue or from among its dead? Or may it have died where the dead are
    not kept?"""
    traits, seen = trail.queues.get(queue), trail.of(queue).get(message, [])
    if traits is not None and traits.dead_letters:
        seen = seen + trail.of(traits.dead_letters).get(message, [])
    elif any(one.how == "reject" for one in seen) or (traits is not None and (traits.expires or traits.overflows)):
        return True
    return any(one.how == "ack" for one in seen)


def lost(trail: Trail) -> Finding:
    """Everything confirmed was acknowledged by a consumer in the end, in each queue it went to or among its dead.

    Or it is still there: as many of a queue's messages as were left in it may be missing (`drained` tells of those).
    Of a run that did not come to its end nobody can say.
    """
    finding = Finding("lost")
    if not trail.is_finished:
        return finding
    left = dict(trail.left)
    for stream, number in trail.confirmed():
        message = (stream.name, number)
        for queue in stream.queues:
            places = [queue]
            traits = trail.queues.get(queue)
            if traits is not None and traits.dead_letters:
                places.append(traits.dead_letters)
            holds = _is_gone(trail, queue, message)
            for place in places if not holds else ():
                if left.get(place, 0) > 0:
                    left[place] -= 1
                    holds = True
                    break
            if finding.check(holds=holds):
                finding.show("; ".join([trail.tell(place, message) for place in places]))
    return finding


def phantom(trail: Trail) -> Finding:
    """Everything delivered was published before, to that queue, with that body; nothing that was refused is there."""
    finding = Finding("phantom")
    for record in trail.damaged:
        finding.check(holds=False)
        finding.show(f"consumer {record.k} got a body that is not what its hash says")
    for queue, message, at in trail.unpublished:
        finding.check(holds=False)
        finding.show(f"{message} came from {queue} at {at:.3f} and was never published")
    graves = {traits.dead_letters: queue for queue, traits in trail.queues.items() if traits.dead_letters}
    for queue, messages in trail.deliveries.items():
        for message, deliveries in messages.items():
            stream = trail.streams[message[0]]
            goes_here = queue in stream.queues or graves.get(queue) in stream.queues
            # Refused where it goes to several queues: the others may have it (a transaction is judged as one). What is
            # refused because the queue is full may be among its dead.
            refused = stream.answer(message[1]) == REFUSED and stream.queues == (queue,)
            for _ in deliveries:
                if finding.check(holds=goes_here and not refused):
                    finding.show(f"{'refused' if refused else 'sent elsewhere'}: {trail.tell(queue, message)}")
    return finding


def settled(trail: Trail) -> Finding:
    """What was settled, and the settling followed by a synchronous reply, never comes again.

    A node that stands still, or is cut off, may hand out late what stood in its sockets.
    """
    finding = Finding("settled")
    for queue, messages in trail.deliveries.items():
        for message, deliveries in messages.items():
            for index, one in enumerate(deliveries):
                if one.how == "requeue" or not trail.counts(one):
                    continue
                again = [
                    other
                    for other in deliveries[index + 1 :]
                    if other.at > one.committed and not trail.may_be_late(other, one.at)
                ]
                if finding.check(holds=not again):
                    finding.show(trail.tell(queue, message))
    return finding


def flags(trail: Trail) -> Finding:
    """Of all deliveries of a message from a queue, one at most is not marked as redelivered, and it is the first.

    But for one that may have stood in a socket while others were made.
    """
    finding = Finding("flags")
    for queue, messages in trail.deliveries.items():
        for message, deliveries in messages.items():
            if len(deliveries) == 1:
                continue
            firsts = [one for one in deliveries if not one.redelivered]
            came_first = not firsts or firsts[0] is deliveries[0] or trail.may_be_late(firsts[0], deliveries[0].at)
            if finding.check(holds=len(firsts) <= 1 and came_first):
                finding.show(trail.tell(queue, message))
    return finding


def once(trail: Trail) -> Finding:
    """What was published more than once to a queue that deduplicates is there once: one delivery at most is a first."""
    finding = Finding("once")
    for stream in trail.streams.values():
        for queue in stream.queues:
            traits = trail.queues.get(queue)
            for number in sorted(stream.again) if traits is not None and traits.deduplicates else ():
                seen = trail.of(queue).get((stream.name, number), [])
                if finding.check(holds=sum(1 for one in seen if not one.redelivered) <= 1):
                    finding.show(trail.tell(queue, (stream.name, number)))
    return finding


def kept(trail: Trail) -> Finding:
    """What an undisturbed consumer holds goes to nobody else."""
    finding = Finding("kept")
    for queue, messages in trail.deliveries.items():
        for message, deliveries in messages.items():
            for one, other in pairwise(deliveries):
                if _was_let_go(trail, one, other):
                    continue
                finding.check(holds=False)
                finding.show(trail.tell(queue, message))
            finding.checks += 1
    return finding


def _was_let_go(trail: Trail, one: Delivery, other: Delivery) -> bool:
    """Whether `other` may have what `one` had before it."""
    holder = trail.consumers[one.consumer]
    if one.how == "requeue" and one.settled <= other.at:
        return True
    if holder.ended <= other.at:
        return True
    until = min(other.at, one.settled + 1.0) if one.how == "ack" else other.at
    if trail.disturbed(holder.node, one.at, until) or trail.flapped(one.at, until):
        return True
    # A node that stood still hands out late what it was given before: then `other` was the first.
    return trail.may_be_late(other, one.at)


def duplicates(trail: Trail) -> int:
    """Deliveries beyond the first of their message and queue."""
    return sum(len(seen) - 1 for messages in trail.deliveries.values() for seen in messages.values())


def delivered(trail: Trail) -> int:
    """Different messages that came to a consumer."""
    found: set[MessageId] = set()
    for messages in trail.deliveries.values():
        found.update(messages)
    return len(found)
