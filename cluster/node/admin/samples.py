"""What figures were at some times in the past, for who asks for it (`msg_rates_age`, `msg_rates_incr` and their kin).

Law: nothing is sampled unless somebody asks: a history is what was told to those who asked for one, no more often than
every SPAN_SECONDS. Before it begins there is nothing, and what it says of a time is what was known then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.node.admin.rates import SPAN_SECONDS

HISTORIES_MAX: Final = 100
"""Beyond, those that nobody has asked for longest are forgotten."""
SAMPLES_MAX: Final = 120
"""Of one thing; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Span:
    """How far back, and how far apart, in seconds. At most SAMPLES_MAX steps."""

    age_seconds: int
    step_seconds: int


class Samples:
    """Of all things whose history was asked for on this node."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        """`wall_clock` gives Unix seconds."""
        self._wall_clock = wall_clock
        self._histories: OrderedDict[Hashable, deque[tuple[float, Mapping[str, int]]]] = OrderedDict()

    def since(self, thing: Hashable, values: Mapping[str, int], span: Span) -> dict[str, dict[str, Any]]:
        """`{"publish": 7}` -> `{"publish_details": {"samples": [...], "avg": 6.5, "avg_rate": 0.2}}`, the latest first;
        a sample's timestamp is Unix milliseconds."""
        now = self._wall_clock()
        history = self._histories.setdefault(thing, deque(maxlen=SAMPLES_MAX))
        self._histories.move_to_end(thing)
        if len(self._histories) > HISTORIES_MAX:
            self._histories.popitem(last=False)
        if not history or now - history[-1][0] >= SPAN_SECONDS:
            history.append((now, dict(values)))
        latest = int(now) // span.step_seconds * span.step_seconds
        told_at = [at for at, _ in history]
        found: list[tuple[int, Mapping[str, int]]] = []
        for at in range(latest, latest - span.age_seconds - 1, -span.step_seconds):
            number = bisect_right(told_at, at)
            if not number:
                break
            found.append((at, history[number - 1][1]))
        found = found or [(latest, values)]
        return {f"{name}_details": _told([(at, known.get(name, 0)) for at, known in found]) for name in values}


def _told(samples: list[tuple[int, int]]) -> dict[str, Any]:
    (last_at, last), (first_at, first) = samples[0], samples[-1]
    seconds = last_at - first_at
    return {
        "samples": [{"sample": value, "timestamp": 1000 * at} for at, value in samples],
        "avg": round(sum([value for _, value in samples]) / len(samples), 3),
        "avg_rate": round((last - first) / seconds, 3) if seconds else 0.0,
    }
