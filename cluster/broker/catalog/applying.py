"""The command being applied: where it stands in the log, and what it has changed so far.

Law: one for each command, and gone with it.
"""

from __future__ import annotations

from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import QueueId, queue_id
from cluster.broker.catalog.outcome import Change, QueueDeleted
from cluster.broker.catalog.state import State


class Applying:
    """`touched` becomes true when routing, permissions or queue settings may have changed."""

    __slots__ = ("changes", "index", "ordinal", "touched")

    def __init__(self, index: int, ordinal: int) -> None:
        self.index = index
        self.ordinal = ordinal
        self.changes: list[Change] = []
        self.touched = False

    def queue_id(self) -> QueueId:
        """The id of a queue that this command declares."""
        return queue_id(self.index, self.ordinal)

    def delete_queues(self, state: State, queues: list[QueueDefinition]) -> None:
        """In ascending order of ids, whatever order they come in."""
        for queue in sorted(queues, key=lambda queue: queue.id):
            state.remove_queue(queue)
            self.changes.append(QueueDeleted(queue))
            self.touched = True
