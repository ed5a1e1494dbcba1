"""A home node's side of the queues that another node keeps in its memory only.

Law: a new term is a new life of that node, which knows nothing of the one before: batches are numbered anew and sent
to it all the same, and nothing is held any more. Queues that the catalog deletes while nobody leads are gone with
the life that had them: whoever waits for something in them is told, and what else a batch holds stays.
"""

from __future__ import annotations

from collections import deque

from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.flight import Flight
from cluster.broker.shard.messages import ReplyStatus
from cluster.broker.shard.stream import ShardStream


class LocalStream(ShardStream):
    """One per other node that keeps queues, and one for the node's own."""

    _gone: frozenset[QueueId] = frozenset()
    """Queues that went while nobody led; forgotten when somebody leads again."""

    def leader_is(self, node: int, term: int) -> None:
        if term > self.term > 0:
            self._held.clear()
            self._sealed = deque([*self._flights, *self._sealed])
            self._flights.clear()
            for number, flight in enumerate(self._sealed, start=1):
                flight.batch.number = number
            self._number = len(self._sealed)
        self._gone = frozenset()
        super().leader_is(node, term)

    def queue_gone(self, queue: QueueId) -> None:
        """The catalog has deleted it, and there is no leader that would tell."""
        self._gone |= {queue}
        self._held.forget(queue)
        if self._open.is_open:
            self._seal()
        for flight in (*self._flights, *self._sealed):
            if self._gone.issuperset(_queues_of(flight)):
                _call_off(flight)
        for number, (request, callback) in list(self._requests.items()):
            if request[2] == queue:
                self.forget_request(number)
                callback(ReplyStatus.GONE, None)
        for consumer, (consumed, sink) in list(self.consumers.items()):
            if consumed == queue:
                del self.consumers[consumer]
                sink.cancelled()


def _queues_of(flight: Flight) -> set[int]:
    batch = flight.batch
    columns = (batch.runs, batch.settles, batch.returns, batch.rejects)
    return {queue for column in columns for queue in unpack_column("Q", column)[::3]}


def _call_off(flight: Flight) -> None:
    """Its publishes are not stored, its settles have nothing to settle."""
    publishes, flight.publishes = flight.publishes, []
    settles, flight.settles = flight.settles, {}
    for part in publishes:
        part.sink.refused(part.first, part.count, part.size)
    for sink, count in settles.items():
        sink.settled(count)
