"""How fast counters grow, from the times they were asked for.

Law: nothing is sampled unless somebody asks, so that rates cost nothing that nobody looks at. A rate is the growth
since an earlier question at least SPAN_SECONDS ago, or, while there is none, since the first one. The first answer,
one after STALE_SECONDS of silence, and one about a counter that began anew say 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

SPAN_SECONDS: Final = 5.0
"""RabbitMQ's interval of samples."""
STALE_SECONDS: Final = 300.0
THINGS_MAX: Final = 20_000
"""Things of which samples are kept; beyond, those that nobody has asked about for longest say 0 again."""


class _Sample:
    """Two questions: `before` is what rates are taken from, `last` what they will be taken from once it is old."""

    __slots__ = ("before", "before_at", "last", "last_at")

    def __init__(self, at: float, values: Mapping[str, int]) -> None:
        self.before_at = self.last_at = at
        self.before = self.last = values

    def move_on(self, at: float, values: Mapping[str, int]) -> None:
        if at - self.last_at >= SPAN_SECONDS:
            self.before_at, self.before = self.last_at, self.last
            self.last_at, self.last = at, values


class Rates:
    """Of all things that were asked about on this node."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that only grow."""
        self._clock = clock
        self._samples: OrderedDict[Hashable, _Sample] = OrderedDict()

    def __len__(self) -> int:
        return len(self._samples)

    def detailed(self, thing: Hashable, values: Mapping[str, int]) -> dict[str, Any]:
        """`{"publish": 7}` -> `{"publish": 7, "publish_details": {"rate": 0.4}}`; rates are a second's."""
        now = self._clock()
        sample = self._samples.get(thing)
        if sample is None or now - sample.last_at > STALE_SECONDS:
            sample = self._samples[thing] = _Sample(now, values)
        else:
            sample.move_on(now, values)
        self._samples.move_to_end(thing)
        if len(self._samples) > THINGS_MAX:
            self._samples.popitem(last=False)
        seconds = now - sample.before_at
        document: dict[str, Any] = {}
        for name, value in values.items():
            grown = value - sample.before.get(name, value)
            document[name] = value
            document[f"{name}_details"] = {"rate": round(grown / seconds, 3) if grown and seconds > 0 else 0.0}
        return document

    def counted(self, thing: Hashable, values: Mapping[str, int]) -> dict[str, Any]:
        """As `detailed`, for what only grows: a counter that shrank began anew, and so do all of its thing."""
        sample = self._samples.get(thing)
        if sample is not None and any(value < sample.last.get(name, 0) for name, value in values.items()):
            del self._samples[thing]
        return self.detailed(thing, values)
