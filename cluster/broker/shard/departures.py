"""What a leader has decided to let go, in the order in which it decided that.

Law: a decision that is not carried out with the next entry is declared by it (`LeaderOps.dooms`), so that no later
leader hands out again what this one has taken out of its queue. What the log says already is not declared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.broker.shard.death import Reason
from cluster.broker.shard.entry import QueueId


@dataclass(frozen=True, slots=True)
class Doom:
    """Messages `[first, end)` of a queue that leave it, and why."""

    queue: QueueId
    first: int
    end: int
    reason: Reason

    @property
    def count(self) -> int:
        return self.end - self.first


class Departures:
    """One leader's. `messages` is how many wait to be carried out, at most all that are alive."""

    def __init__(self) -> None:
        self.messages = 0
        self._dooms: deque[Doom] = deque()
        self._undeclared: deque[Doom] = deque()

    def __len__(self) -> int:
        """Stretches of messages."""
        return len(self._dooms)

    @property
    def has_undeclared(self) -> bool:
        return bool(self._undeclared)

    def add(self, doom: Doom, *, is_declared: bool = False) -> None:
        self._dooms.append(doom)
        self.messages += doom.count
        if is_declared:
            return
        last = self._undeclared[-1] if self._undeclared else None
        if last is not None and (last.queue, last.end, last.reason) == (doom.queue, doom.first, doom.reason):
            self._undeclared[-1] = Doom(last.queue, last.first, doom.end, last.reason)
        else:
            self._undeclared.append(doom)

    def take(self) -> Doom:
        """The oldest one, to be carried out."""
        doom = self._dooms.popleft()
        self.messages -= doom.count
        return doom

    def put_back(self, dooms: Sequence[Doom]) -> None:
        """What was taken last, in its order."""
        self._dooms.extendleft(reversed(dooms))
        self.messages += sum([doom.count for doom in dooms])

    def take_undeclared(self, rows_max: int | None = None) -> list[Doom]:
        """What the next entry may have to say; None: all of it."""
        count = len(self._undeclared) if rows_max is None else min(rows_max, len(self._undeclared))
        return [self._undeclared.popleft() for _ in range(count)]

    def put_back_undeclared(self, dooms: Sequence[Doom]) -> None:
        self._undeclared.extendleft(reversed(dooms))
