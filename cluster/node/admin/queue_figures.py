"""What the leaders of queues have counted, on every node.

Law: each node tells of those that it leads, without waiting for anything; who is asked puts the answers of all
together. A node that does not answer in time is left out. What is said of a queue begins with what every version says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from cluster.broker.catalog.ids import QueueId
from cluster.node.admin.gently import gently
from cluster.node.admin.report import QueueCounts
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import LinkError
from cluster.raft.types import NodeId

_PATIENCE: Final = 30_000
"""What weighing the queues of one question may cost this node, about 10 ms, and of one queue at least; see `Scale`."""
_PATIENCE_MIN: Final = 16
_UNWEIGHED: Final = "counts"
"""In the place of a list: all queues, and how many messages alone. An older node takes it for all, and weighs none."""
_SHARES: Final = 8
"""A queue gets an eighth of what is left, or more if few are to come."""


class QueueFigures:
    """Of one node; asks the others."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def requests(self) -> dict[int, Request]:
        """What other nodes ask."""
        return {Kind.QUEUES: self._give}

    async def ask(
        self, timeout_seconds: float, queues: Sequence[QueueId] | None = None, *, weighed: bool = True
    ) -> Mapping[int, QueueCounts]:
        """See `NodeSource.queue_counts`."""
        rows: dict[int, QueueCounts] = {}
        wanted = (None if weighed else _UNWEIGHED) if queues is None else [int(queue) for queue in queues]
        async with trio.open_nursery() as nursery:
            for node in self._core.members.by_id:
                nursery.start_soon(self._ask, node, timeout_seconds, wanted, rows)
        return rows

    async def _ask(
        self, node: NodeId, timeout_seconds: float, wanted: list[int] | str | None, rows: dict[int, QueueCounts]
    ) -> None:
        try:
            if node == self._core.node:
                answer = await self._give(node, wanted)
            else:
                answer = await self._core.links.call(node, Kind.QUEUES, wanted, timeout_seconds)
        except LinkError:
            return
        async for queue, *counts in gently(answer):
            rows[queue] = QueueCounts.of(counts)

    async def _give(self, peer: NodeId, body: Any) -> Any:
        """QUEUES: all that are led here, or those of a list. A row ends with the last figure that is not 0."""
        seats = [
            (seat, seat.leader.queues) for seat in self._core.switchboard.seats.values() if seat.leader is not None
        ]
        wanted = set(body) if isinstance(body, list) else None
        asked = [
            (seat, queue)
            for seat, queues in seats
            for queue in (queues if wanted is None else [queue for queue in wanted if queue in queues])
        ]
        rows: list[list[int]] = []
        if body == _UNWEIGHED:
            async for seat, queue in gently(asked):
                if seat.leader is not None and (held := seat.leader.queues.get(queue)) is not None:
                    rows.append([int(queue), *_row(QueueCounts(*held.counts())._replace(leaving=held.leaving))])
            return rows
        left, to_come = _PATIENCE, len(asked)
        async for seat, queue in gently(asked):
            patience = max(_PATIENCE_MIN, left // min(to_come, _SHARES))
            row = seat.figures(queue, patience)
            to_come -= 1
            if row is not None:
                left -= min(patience, row[0] + row[1] + row[3], left)
                rows.append([int(queue), *_row(row)])
        return rows


def _row(figures: Sequence[int]) -> list[int]:
    """Up to the last one that is not 0."""
    row = list(figures)
    while row and not row[-1]:
        row.pop()
    return row
