"""How long clients had to wait: for confirms while a majority was there, for a refusal where it was not, and for the
cluster to be well again.

Law: only the time counts in which somebody waited. Publishers on nodes that a fault disturbs are not asked; what counts
is whether the others could go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chaos.checker.faults import AFTERMATH_SECONDS, NEVER, FaultSeen, Span
from chaos.checker.finding import Finding
from chaos.checker.trail import StreamSeen, Trail

REFUSAL_SECONDS = 5.0
"""After so long a node without a majority has to say so (see the guarantees)."""
REFUSAL_SLACK_SECONDS = 3.0
"""What a busy machine may add."""
LEADERLESS_SECONDS = 10.0
"""So long after a majority is back somebody may still be told that there was none."""
MINORITY_ONSET_SECONDS = 3.0
"""So long a leader that was cut off may believe that it leads; what it took by then waits for the majority."""


@dataclass(frozen=True, slots=True)
class Gap:
    queue: str
    since: float
    seconds: float


def gaps(trail: Trail) -> Iterator[Gap]:
    """Each wait of a queue's publishers, on undisturbed nodes, for the next confirm of any of them."""
    lacking = trail.without_majority()
    last_publish = {
        queue: max(
            [stream.published_at[-1][0] for stream in trail.streams.values() if _counts(stream, queue)], default=0.0
        )
        for queue in trail.queues
    }
    for queue in trail.queues:
        waiting: float | None = None
        for at, is_confirm in _events(trail, queue):
            if not is_confirm:
                waiting = at if waiting is None else waiting
            elif waiting is not None:
                yield from [Gap(queue, since, seconds) for since, seconds in _parts(waiting, at, lacking)]
                waiting = None
        if waiting is not None and trail.ended - waiting > AFTERMATH_SECONDS and waiting < last_publish[queue]:
            yield from [Gap(queue, since, seconds) for since, seconds in _parts(waiting, trail.ended, lacking)]


def _counts(stream: StreamSeen, queue: str) -> bool:
    return bool(stream.queues == (queue,) and not stream.transactions and stream.published_at)


def _events(trail: Trail, queue: str) -> list[tuple[float, bool]]:
    """(when, confirmed or published), by time."""
    events: list[tuple[float, bool]] = []
    for stream in trail.streams.values():
        if not _counts(stream, queue):
            continue
        concerned = [fault for fault in trail.faults.values() if stream.node in fault.nodes]
        for at, first, end in stream.published_at:
            # What a broken connection took with it is nobody's any more.
            is_lost = stream.ended != NEVER and any(stream.answer(number) == 1 for number in range(first, end))
            if not is_lost and not _disturbs(concerned, at, trail.nodes):
                events.append((at, False))
        events += [(at, True) for at in stream.confirmed_at]
    events.sort()
    return events


def _disturbs(faults: list[FaultSeen], at: float, nodes: int) -> bool:
    """Is the publisher's node disturbed when it publishes, or before that could be confirmed? A fault of all nodes
    excuses nobody once it is mended: no other would be left to ask."""
    return any(
        Span(fault.began, fault.mended if len(fault.nodes) == nodes else fault.over).is_felt(at, at + AFTERMATH_SECONDS)
        for fault in faults
    )


def _parts(since: float, until: float, lacking: list[Span]) -> list[tuple[float, float]]:
    """(begin, seconds) of what of a wait fell into times with a majority."""
    parts: list[tuple[float, float]] = []
    for span in lacking:
        if span.until <= since or span.since >= until:
            continue
        if span.since > since:
            parts.append((since, span.since - since))
        since = max(since, span.until)
    if since < until:
        parts.append((since, until - since))
    return parts


def availability(trail: Trail) -> Finding:
    """With a majority alive, no queue's publishers wait longer than was claimed for a confirm."""
    finding = Finding("availability")
    limit = trail.began.gap_max if trail.began else 0.0
    longest = Gap("", 0.0, 0.0)
    for gap in gaps(trail):
        if finding.check(holds=gap.seconds <= limit):
            finding.show(f"{gap.seconds:.3f} s without a confirm in {gap.queue}, {_moment(trail, gap.since)}")
        longest = max(longest, gap, key=lambda one: one.seconds)
    finding.measures["longest_gap_seconds"] = longest.seconds
    if longest.seconds:
        finding.measures["longest_gap_at_seconds"] = longest.since - (trail.began.t if trail.began else 0.0)
    return finding


def _moment(trail: Trail, at: float) -> str:
    before = [fault for fault in trail.faults.values() if fault.began <= at + AFTERMATH_SECONDS]
    start = trail.began.t if trail.began else 0.0
    if not before:
        return f"at {at - start:.1f} s, before any fault"
    fault = max(before, key=lambda one: one.began)
    what = f"fault {fault.number} ({fault.kind} of {fault.nodes}) began at {fault.began - start:.1f} s"
    return f"at {at - start:.1f} s, {what}"


def minority(trail: Trail) -> Finding:
    """A node that is cut off answers what is asked of it, with a refusal if need be, and soon."""
    finding = Finding("minority")
    patience = REFUSAL_SECONDS + REFUSAL_SLACK_SECONDS
    for fault in trail.faults.values():
        since, until = fault.began + MINORITY_ONSET_SECONDS, fault.mended - patience
        for stream in trail.streams.values():
            if stream.node not in fault.minority:
                continue
            for at, first, end in stream.published_at:
                if not since <= at <= until:
                    continue
                for number in range(first, end):
                    answered = min(stream.settled_at.get(number, NEVER), stream.ended)
                    if finding.check(holds=answered - at <= patience):
                        finding.show(f"{stream.name}/{number}: no answer within {patience:g} s, {_moment(trail, at)}")
        for step in trail.defined:
            if (
                step.node in fault.minority
                and since <= step.asked <= until
                and finding.check(holds=step.t - step.asked <= patience)
            ):
                finding.show(f"{step.op} {step.name}: {step.t - step.asked:.1f} s, {_moment(trail, step.asked)}")
    return finding


def recovery(trail: Trail) -> Finding:
    """After each fault the cluster calls itself healthy, without a human."""
    finding = Finding("recovery")
    for healthy in trail.healthy:
        finding.check(holds=True)
        finding.measures["slowest_seconds"] = max(finding.measures.get("slowest_seconds", 0.0), healthy.seconds)
    for stuck in trail.stuck:
        finding.check(holds=False)
        finding.show(stuck.why)
    return finding


def connections(trail: Trail) -> Finding:
    """A node that nothing is done to keeps its clients, as long as there is a majority to answer them."""
    finding = Finding("connections")
    lacking = trail.without_majority()
    streams = [(one.name, one.node, one.ended, one.orderly) for one in trail.streams.values()]
    consumers = [(one.name, one.node, one.ended, one.orderly) for one in trail.consumers.values()]
    for name, node, ended, orderly in streams + consumers:
        excused = (
            orderly
            or ended == NEVER
            # Whoever asked something while the node was out of touch is told so when its patience is over.
            or trail.disturbed(node, ended - REFUSAL_SECONDS - REFUSAL_SLACK_SECONDS, ended)
            or any(span.since <= ended <= span.until + LEADERLESS_SECONDS for span in lacking)
        )
        if finding.check(holds=excused):
            finding.show(f"{name} on node {node} lost its connection, {_moment(trail, ended)}")
    return finding
