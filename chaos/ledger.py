"""What clients published, were told, and received, and the judgement of it.

Law: pure; times are seconds of one monotonic clock. A message is known by (publishing, number): a publishing is one
channel in confirm mode from open to close, its numbers are its delivery tags. A message whose publishing ended before
the answer is undecided: it may arrive or not. Nothing is ever published twice; consumers acknowledge, or return what
they got.
"""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

GAP_ONSET_SECONDS = 1.0
"""A gap in confirms is laid at a fault's door if it holds a moment within so long after the fault."""

OPEN, CONFIRMED, REFUSED = 0, 1, 2
SETTLED_SECONDS = 2.0
"""A message that was handed out so long ago has been acknowledged, and the acknowledgement is committed."""
_EXAMPLES_MAX = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to `nodes` at `began`; from `ended` on all was well again. `queues` were led there."""

    number: int
    kind: str
    nodes: tuple[int, ...]
    queues: tuple[str, ...]
    began: float
    ended: float = float("inf")


@dataclass(slots=True)
class Publishing:
    """One channel in confirm mode."""

    node: int
    queue: str
    answers: bytearray = field(default_factory=bytearray)
    """For each message published: OPEN, CONFIRMED or REFUSED."""
    answered_at: array[float] = field(default_factory=lambda: array("d"))
    """When confirms arrived, ascending."""
    ended_at: float | None = None

    def publish(self) -> int:
        """The number of a new message, from 0."""
        self.answers.append(OPEN)
        return len(self.answers) - 1

    def longest_gap(self, after: float, onset: float) -> float:
        """Longest time without a confirm that began before `onset` and lasted beyond `after`, seconds."""
        longest = 0.0
        for before, then in pairwise(self.answered_at):
            if then > after and before < onset:
                longest = max(longest, then - before)
        return longest


@dataclass(slots=True)
class Receiving:
    """One consumer's connection."""

    node: int
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    at: float
    receiving: int
    redelivered: bool
    returned: bool
    """Whether the consumer gave it back at once."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Longest pause in confirms after a fault, over the publishings on other nodes into queues that were led there."""

    fault: int
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of messages, except where named otherwise. What may not be has to be 0: see `broken`.

    lost             confirmed, never delivered (or not again, after it was given back)
    unflagged        delivered more than once without the flag `redelivered`
    twice_to_living  delivered again although the node that had delivered it, and its client, lived on, or although
                     it was acknowledged long before that node was struck
    phantom          delivered, never published, or with another body
    disordered       first deliveries that came to a consumer after a later one of the same publishing
    dropped          connections (not messages) lost on nodes that nothing was done to
    refused          nacked by the broker
    left             in the queues at the end
    longest_calm_gap longest pause in confirms, seconds, that has nothing to do with a fault
    """

    published: int
    confirmed: int
    delivered: int
    redelivered: int
    lost: int
    unflagged: int
    twice_to_living: int
    phantom: int
    disordered: int
    dropped: int
    refused: int
    left: int
    gaps: tuple[Gap, ...]
    longest_calm_gap: float
    examples: tuple[str, ...]
    """What befell some of the messages that are counted above, one line each."""

    @property
    def broken(self) -> tuple[str, ...]:
        """The promises that were not kept."""
        names = ("lost", "unflagged", "twice_to_living", "phantom", "disordered", "dropped", "left")
        return tuple([name for name in names if getattr(self, name)])

    @property
    def worst_gap(self) -> float:
        return max([gap.seconds for gap in self.gaps], default=0.0)

    @property
    def median_gap(self) -> float:
        ordered = sorted(gap.seconds for gap in self.gaps)
        return ordered[len(ordered) // 2] if ordered else 0.0

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {
            "broken": list(self.broken),
            "worst_gap": self.worst_gap,
            "median_gap": self.median_gap,
        }


class Ledger:
    """Everything that was seen. Grows by about 150 bytes a message."""

    def __init__(self) -> None:
        self.publishings: list[Publishing] = []
        self.receivings: list[Receiving] = []
        self.faults: list[Fault] = []
        self.phantoms = 0
        self._deliveries: dict[tuple[int, int], list[Delivery]] = {}

    @property
    def published(self) -> int:
        return sum(len(p.answers) for p in self.publishings)

    @property
    def confirmed(self) -> int:
        return sum(p.answers.count(CONFIRMED) for p in self.publishings)

    @property
    def delivered(self) -> int:
        """Different messages."""
        return len(self._deliveries)

    def deliver(self, publishing: int, number: int, delivery: Delivery) -> None:
        if publishing >= len(self.publishings) or number >= len(self.publishings[publishing].answers):
            self.phantoms += 1
            return
        self._deliveries.setdefault((publishing, number), []).append(delivery)

    def fault_over(self, number: int, at: float) -> None:
        before = self.faults[number]
        self.faults[number] = replace(before, ended=at)

    def undelivered(self) -> list[tuple[int, int]]:
        """Confirmed, and so far not delivered, or given back and not delivered again."""
        return [
            (index, number)
            for index, publishing in enumerate(self.publishings)
            for number, answer in enumerate(publishing.answers)
            if answer == CONFIRMED and all(d.returned for d in self._deliveries.get((index, number), ()))
        ]

    def gap(self, fault: Fault) -> float:
        """See `Gap`; 0 where so many nodes were struck that no quorum was left."""
        if len(fault.nodes) > 1:
            return 0.0
        onset = fault.began + GAP_ONSET_SECONDS
        concerned = [p for p in self.publishings if p.node not in fault.nodes and p.queue in fault.queues]
        return max([p.longest_gap(fault.began, onset) for p in concerned], default=0.0)

    def judge(self, left: int) -> Verdict:
        """`left`: messages in the queues at the end, ready or not."""
        lost = self.undelivered()
        unflagged = [m for m, ds in self._deliveries.items() if sum(1 for d in ds if not d.redelivered) > 1]
        needless = [m for m, ds in self._deliveries.items() if len(ds) > 1 and self._needless(ds)]
        return Verdict(
            published=self.published,
            confirmed=self.confirmed,
            delivered=self.delivered,
            redelivered=sum(len(ds) - 1 for ds in self._deliveries.values()),
            lost=len(lost),
            unflagged=len(unflagged),
            twice_to_living=len(needless),
            phantom=self.phantoms,
            disordered=self._disordered(),
            dropped=self._dropped(),
            refused=sum(p.answers.count(REFUSED) for p in self.publishings),
            left=left,
            gaps=tuple([Gap(fault.number, fault.kind, self.gap(fault)) for fault in self.faults]),
            longest_calm_gap=max([self._calm_gap(p) for p in self.publishings], default=0.0),
            examples=tuple(
                [
                    self._example(kind, message)
                    for kind, messages in (("lost", lost), ("unflagged", unflagged), ("twice", needless))
                    for message in messages[:: max(1, len(messages) // _EXAMPLES_MAX)]
                ]
            ),
        )

    def _example(self, kind: str, message: tuple[int, int]) -> str:
        """Times are seconds after the fault before them."""
        publishing = self.publishings[message[0]]
        seen = [
            f"{self._moment(d.at)} {'re' if d.redelivered else ''}delivered by node {self.receivings[d.receiving].node}"
            f" to consumer {d.receiving}"
            for d in self._deliveries.get(message, [])
        ]
        what = f"{kind}: {message[0]}/{message[1]} by node {publishing.node} into {publishing.queue}"
        return f"{what}: {'; '.join(seen)}"

    def _moment(self, at: float) -> str:
        before = [fault for fault in self.faults if fault.began <= at]
        if not before:
            return "at first"
        return f"{at - before[-1].began:.3f} s after {before[-1].kind} {before[-1].number} of nodes {before[-1].nodes}"

    def _needless(self, deliveries: list[Delivery]) -> bool:
        """Was it delivered again while the receiver before had not been disturbed, nor given it back?"""
        ordered = sorted(deliveries, key=lambda d: (d.redelivered, d.at))
        return any(not one.returned and not self._excused(one, other) for one, other in pairwise(ordered))

    def _excused(self, one: Delivery, other: Delivery) -> bool:
        """Did a fault take `one` away, before its settling had time to be committed?

        A node that stood still hands out late what it was given before: then `other` is the earlier one.
        """
        since, until = min(one.at, other.at), max(one.at, other.at)
        until_settled = min(until, since + SETTLED_SECONDS)
        if self._disturbed(self.receivings[one.receiving].node, since, until_settled):
            return True
        frozen = [f for f in self.faults if f.kind == "stop" and self.receivings[other.receiving].node in f.nodes]
        return any(f.began <= since and until <= f.ended for f in frozen)

    def _disturbed(self, node: int, since: float, until: float) -> bool:
        return any(node in f.nodes and f.began <= until and f.ended >= since for f in self.faults)

    def _disordered(self) -> int:
        """Per publishing and receiving connection: first deliveries, in order of arrival, ascend."""
        arrivals: dict[tuple[int, int], list[tuple[float, int]]] = {}
        for (publishing, number), deliveries in self._deliveries.items():
            for d in deliveries:
                if not d.redelivered:
                    arrivals.setdefault((publishing, d.receiving), []).append((d.at, number))
        disordered = 0
        for arrived in arrivals.values():
            latest = -1
            for _, number in sorted(arrived, key=lambda pair: pair[0]):
                disordered += number < latest
                latest = max(latest, number)
        return disordered

    def _dropped(self) -> int:
        ends = [(p.node, p.ended_at) for p in self.publishings] + [(r.node, r.ended_at) for r in self.receivings]
        return sum(1 for node, at in ends if at is not None and not self._disturbed(node, at, at))

    def _calm_gap(self, publishing: Publishing) -> float:
        longest = 0.0
        for before, then in pairwise(publishing.answered_at):
            if then - before > longest and not any(
                f.began - 0.1 < then and before < max(f.began + GAP_ONSET_SECONDS, f.ended) for f in self.faults
            ):
                longest = then - before
        return longest
