"""The queues that a leader knows: how they come and go, and that they have the settings that the catalog says.

Law: a queue is made when something turns up for it, with what the catalog says of it then; one that was known is never
UNKNOWN again. One that the catalog has deleted goes, with all that comes for it late, and is not made again as long as
it is remembered. While home nodes attach no queue finds its messages' places by its settings: what is held is not
known.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.broker.shard.desk import Desk
from cluster.broker.shard.entry import HIDDEN_QUEUES, QueueId
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.proposals import Proposals
from cluster.broker.shard.queue_state import QueueState
from cluster.broker.shard.settings import PLAIN, UNKNOWN
from cluster.broker.shard.state import ShardState
from cluster.broker.shard.surroundings import Surroundings


def take_up(state: ShardState, surroundings: Surroundings) -> dict[QueueId, LeaderQueue]:
    """The queues as a new leader finds them. What open transactions answer is with who has opened them."""
    queues = {
        queue: LeaderQueue(queue, queue_state, surroundings.settings(queue))
        for queue, queue_state in state.queues.items()
        if queue < HIDDEN_QUEUES
    }
    for tx, part in state.transactions.prepared.items():
        for number, first, end in part.answers():
            answered = queues.get(QueueId(number))
            if answered is not None:
                answered.lock(answered.state.alive_parts(first, end), tx.node)
    return queues


class QueueRegistry:
    """One leader's."""

    def __init__(
        self,
        *,
        queues: dict[QueueId, LeaderQueue],
        state: ShardState,
        surroundings: Surroundings,
        keeper: Keeper,
        proposals: Proposals,
        desk: Desk,
        deleted: Callable[[QueueId], bool],
        dropped_max: int,
        forgotten: Callable[[QueueId], None],
    ) -> None:
        """queues           those of `take_up`; from now on they come and go here only
        deleted, dropped_max  see `ShardLeader` and `LeaderLimits`
        forgotten(queue)  is told of each that is known no more
        """
        self.queues = queues
        self._state = state
        self._surroundings = surroundings
        self._keeper = keeper
        self._proposals = proposals
        self._desk = desk
        self._deleted = deleted
        self._dropped_max = dropped_max
        self._forgotten = forgotten
        self._dropped: dict[QueueId, None] = {}
        """Queues that shall never be again. At most `dropped_max`."""
        self._unknown = {queue.id: keeper.now_ms for queue in queues.values() if queue.settings is UNKNOWN}
        """Those whose settings are UNKNOWN, and since when, Unix milliseconds."""
        self._attaching = True

    def queue(self, queue_id: QueueId) -> LeaderQueue:
        """Known, or made now."""
        queue = self.queues.get(queue_id)
        if queue is None:
            state = self._state.queues.get(queue_id) or QueueState(queue_id)
            queue = self.queues[queue_id] = LeaderQueue(queue_id, state, self._surroundings.settings(queue_id))
            if queue.settings is UNKNOWN:
                self._unknown[queue_id] = self._keeper.now_ms
            if queue.settings is not PLAIN and not self._attaching:
                self._keeper.settings_changed(queue)
            queue.doomed = self.is_dropped(queue_id)
        if queue.state.next_seq == 0 and queue_id in self._state.queues:
            queue.state = self._state.queues[queue_id]
        return queue

    def queue_asked(self, queue_id: QueueId) -> LeaderQueue:
        """For a request; a dropped queue is answered for and not made again."""
        if queue_id in self.queues or not self.is_dropped(queue_id):
            return self.queue(queue_id)
        queue = LeaderQueue(queue_id, QueueState(queue_id))
        queue.doomed = True
        return queue

    def starved(self, patience_ms: int) -> list[QueueId]:
        """See `ShardLeader.starved`."""
        until_ms = self._keeper.now_ms - patience_ms
        late = [self.queues[queue_id] for queue_id, since_ms in self._unknown.items() if since_ms <= until_ms]
        return [queue.id for queue in late if not queue.doomed and (queue.state.alive or queue.consumers or queue.gets)]

    def is_dropped(self, queue_id: QueueId) -> bool:
        """One that the catalog turns out to have deleted is dropped by this."""
        if queue_id not in self._dropped and self._deleted(queue_id):
            self.drop(queue_id)
        return queue_id in self._dropped

    def drop(self, queue_id: QueueId) -> None:
        """See `ShardLeader.drop`."""
        if queue_id in self._dropped:
            return
        self._dropped[queue_id] = None
        if len(self._dropped) > self._dropped_max:
            del self._dropped[next(iter(self._dropped))]
        queue = self.queues.get(queue_id)
        if queue is not None:
            queue.doomed = True
        if queue_id not in self._state.queues:
            self.forget(queue_id)
            return
        self._proposals.drops.append(queue_id)
        if queue is not None:
            self._desk.dismiss(queue)

    def came_late(self, queue: LeaderQueue) -> None:
        """Messages have come for a doomed queue: it is dropped once more."""
        if queue.id in self._dropped and queue.id in self._state.queues:
            self._proposals.drops.append(queue.id)

    def forget(self, queue_id: QueueId) -> None:
        """The state has the queue no more."""
        queue = self.queues.pop(queue_id, None)
        self._unknown.pop(queue_id, None)
        self._forgotten(queue_id)
        self._proposals.watermarks.pop(queue_id, None)
        if queue is not None:
            self._desk.dismiss(queue)

    def all_attached(self) -> None:
        """What is held is known: messages of queues that turn up find their places at once."""
        self._attaching = False

    def settings_changed(self, queue_id: QueueId) -> LeaderQueue | None:
        """See `ShardLeader.settings_changed`. Returns the queue if there is something to look at for it."""
        settings = self._surroundings.settings(queue_id)
        queue = self.queues.get(queue_id)
        was_unknown = queue is not None and queue.settings is UNKNOWN
        if queue is None:
            if settings.expires_ms is None or self.is_dropped(queue_id):
                return None
            queue = self.queue(queue_id)
        elif settings is UNKNOWN or (queue.settings == settings and not was_unknown):
            return None
        queue.settings = settings
        self._unknown.pop(queue_id, None)
        if not self._attaching:
            self._keeper.settings_changed(queue)
            if was_unknown and settings.delivery_limit is not None:
                self._proposals.return_lost(queue_id, queue.take_suspects())
        return queue
