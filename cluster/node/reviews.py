"""Queues whose settings may be others: their leaders here look at them again.

Law: few are looked at at once, many a part in each tick: a hundred thousand must not stop the node. None is forgotten,
and those that came first are looked at first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.shard.entry import QueueId
from cluster.node.shards.switchboard import Switchboard
from cluster.node.shards.view import shard_of

_AT_ONCE = 2000
"""Queues that are looked at in one go."""


class Reviews:
    """Of one node."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._waiting: deque[QueueDefinition] = deque()
        """Each change of policies adds those of its vhost."""

    def want(self, queues: Sequence[QueueDefinition]) -> None:
        """Have them looked at: at once if they are few."""
        if len(queues) > _AT_ONCE or self._waiting:
            self._waiting.extend(queues)
        else:
            self.look(queues)

    def tick(self) -> None:
        """Time for a part of those that wait."""
        self.look([self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))])

    def look(self, queues: Iterable[QueueDefinition]) -> None:
        """Look at them now."""
        by_shard: dict[int, list[QueueId]] = {}
        for queue in queues:
            by_shard.setdefault(shard_of(queue), []).append(queue.id)
        for shard, ids in by_shard.items():
            seat = self._switchboard.seats.get(shard)
            if seat is not None:
                seat.settings_changed(ids)
