"""What the patrons of a world see, taken down in the words of `chaos.history` and judged by its checker.

Law: it judges nothing itself; what is promised of queues with traits is said in one place, for real clusters and for
simulated ones. Times are virtual seconds.
"""

from __future__ import annotations

from collections import Counter
from itertools import count

import trio

from chaos.checker.trail import Trail
from chaos.checker.verdict import INVARIANTS
from chaos.history import AnyRecord, FaultBegan, FaultMended, FaultOver

CLAIMS = (
    "answers",
    "lost",
    "phantom",
    "settled",
    "flags",
    "counts",
    "kept",
    "order",
    "expiry",
    "single active",
    "transactions",
    "dead letters",
)
"""What is judged. A single short history may hold nothing to look at for one of them; many together may not."""


class Chronicle:
    def __init__(self) -> None:
        self._records: list[AnyRecord] = []
        self._numbers = count(1)

    @property
    def now(self) -> float:
        return trio.current_time()

    def write(self, record: AnyRecord) -> None:
        """To be called before what it announces is sent, and after what it reports was received."""
        self._records.append(record)

    def fresh(self, kind: str) -> str:
        """A name that nobody else has."""
        return f"{kind}{next(self._numbers)}"

    def fault_begins(self, number: int, nodes: tuple[int, ...], clocks: tuple[int, ...] = ()) -> None:
        """`nodes`: those whose clients may see something of it that is not promised otherwise."""
        self.write(FaultBegan(t=self.now, number=number, kind="", nodes=nodes, clocks=clocks))

    def fault_is_over(self, number: int) -> None:
        self.write(FaultMended(t=self.now, number=number))
        self.write(FaultOver(t=self.now, number=number))

    def judged(self) -> Counter[str]:
        """How often each claim was checked. Raises AssertionError for what is broken."""
        trail = Trail(self._records)
        checks: Counter[str] = Counter()
        for claim in CLAIMS:
            finding = INVARIANTS[claim](trail)
            checks[claim] = finding.checks
            assert not finding.broken, f"{claim}: {finding.broken} broken: " + "\n  ".join(["", *finding.examples])
        return checks
