"""The faults of a run, and what several of them at once leave of the cluster.

Law: faults add up. Two that each leave every node a majority may leave one without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

NEVER = math.inf
AFTERMATH_SECONDS = 2.0
"""What a fault explains, it explains so long after its end, too: links that are made anew, clients that notice."""


@dataclass(frozen=True, slots=True)
class Span:
    since: float
    until: float

    def is_felt(self, since: float, until: float) -> bool:
        """Whether it, or what comes after it, is between two moments."""
        return self.since <= until and since <= self.until + AFTERMATH_SECONDS


@dataclass(slots=True)
class FaultSeen:
    number: int
    kind: str
    nodes: tuple[int, ...]
    down: tuple[int, ...]
    minority: tuple[int, ...]
    cut: tuple[tuple[int, int], ...]
    clocks: tuple[int, ...]
    began: float
    mended: float = NEVER
    over: float = NEVER

    def disturbs(self, node: int, since: float, until: float) -> bool:
        """Whether it, or what comes after it, may explain something of `node` between two moments."""
        return node in self.nodes and self.is_felt(since, until)

    def is_felt(self, since: float, until: float) -> bool:
        """By anybody, it or what comes after it."""
        return Span(self.began, self.over).is_felt(since, until)


def without_majority(faults: Iterable[FaultSeen], nodes: int) -> list[Span]:
    """When no node was up and connected to a majority; from the fault to when the nodes said they were ready."""
    return _spans(
        [(Span(one.began, one.mended), one) for one in faults],
        lambda these: not any(_has_majority(node, these, nodes) for node in range(nodes)),
    )


def out_of_touch(faults: Iterable[FaultSeen], nodes: int, node: int) -> list[Span]:
    """When `node` was not up or not connected to a majority; from the fault to when the cluster was healthy again."""
    return _spans(
        [(Span(one.began, one.over), one) for one in faults], lambda these: not _has_majority(node, these, nodes)
    )


def _spans(faults: list[tuple[Span, FaultSeen]], is_so: Callable[[list[FaultSeen]], bool]) -> list[Span]:
    marks = sorted({mark for span, _ in faults for mark in (span.since, span.until)})
    spans: list[Span] = []
    for since, until in pairwise([*marks, NEVER]):
        if not is_so([fault for span, fault in faults if span.since <= since < span.until]):
            continue
        if spans and spans[-1].until == since:
            spans[-1] = Span(spans[-1].since, until)
        else:
            spans.append(Span(since, until))
    return spans


def _has_majority(node: int, faults: list[FaultSeen], nodes: int) -> bool:
    up = set(range(nodes)) - {down for fault in faults for down in fault.down}
    cut = {frozenset(pair) for fault in faults for pair in fault.cut}
    return node in up and sum(frozenset((node, other)) not in cut for other in up) > nodes // 2
