"""What the check of one invariant found.

Law: it counts what it looked at. An invariant that was claimed and found nothing to look at is broken, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

EXAMPLES_MAX = 8


@dataclass(slots=True)
class Finding:
    """`checks`: things looked at. `broken`: those of them that were not as promised. `measures`: figures by name, with
    the unit last in the name."""

    name: str
    checks: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)

    def check(self, *, holds: bool) -> bool:
        """Count one thing. Returns whether it is broken, for `show`."""
        self.checks += 1
        if not holds:
            self.broken += 1
        return not holds

    def show(self, example: str) -> None:
        """Keep what a human needs to look into it."""
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(example)
