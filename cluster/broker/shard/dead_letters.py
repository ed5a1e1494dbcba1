"""From doomed messages to one entry's operations: a settle, or a move to where their queue's dead letters go.

Law: a message leaves its queue and turns up in its targets by one entry. A target in another shard gets it by way of
this shard's outbox for that shard, which is a queue of its own: what stands there is `_POST`, then the record. A
message that goes nowhere (no exchange, no route, or round in a circle) is settled, as RabbitMQ drops it; but not by a
copy of the catalog that may be older than the message's death.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping
from struct import Struct

from cluster.broker.shard.columns import pack_column, pack_numbers
from cluster.broker.shard.death import DeadLetter, Reason, die, goes_round
from cluster.broker.shard.entry import HIDDEN_QUEUES, LeaderOps, QueueId
from cluster.broker.shard.keeper import Doom
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.settings import QueueSettings
from cluster.broker.shard.surroundings import Surroundings

_POST = Struct(">QB")
"""What stands before a record in an outbox: target queue, priority."""
SHORTSTR_MAX = 255
"""Bytes of the name of an exchange or a routing key; what is longer leads nowhere."""
LETTERS_MAX = 100
"""Dead letters in one entry; the others wait for the next. One costs 80 us, and heartbeats wait meanwhile."""


def outbox(shard: int) -> QueueId:
    """The hidden queue of what goes to another shard."""
    return QueueId(HIDDEN_QUEUES + shard)


def open_post(post: bytes) -> tuple[QueueId, int, bytes]:
    """(target queue, priority, record) of what stands in an outbox."""
    queue, priority = _POST.unpack_from(post)
    return QueueId(queue), priority, post[_POST.size :]


class Morgue:
    """What one entry says about doomed messages, and about publishes that were kept out with a dead letter."""

    def __init__(
        self,
        *,
        shard: int,
        time_ms: int,
        queues: Mapping[QueueId, LeaderQueue],
        surroundings: Surroundings,
        payloads: PayloadCache,
    ) -> None:
        self.settles: list[int] = []
        self.letters = 0
        self.size = 0
        """Bytes of records."""
        self.is_unsure = False
        """Has a message no place to go, by a copy of the catalog of which nobody knows whether it is the latest?"""
        self._moves: list[int] = []
        self._marks: list[int] = []
        self._sizes: array[int] = array("I")
        self._records: list[bytes] = []
        self._shard = shard
        self._time_ms = time_ms
        self._queues = queues
        self._surroundings = surroundings
        self._payloads = payloads

    def write(self, ops: LeaderOps) -> None:
        """Into an entry's operations, all but `settles`."""
        ops.moves = pack_numbers(self._moves)
        ops.marks = pack_numbers(self._marks)
        ops.sizes = pack_column(self._sizes)
        ops.payload = b"".join(self._records)

    def take(self, dooms: deque[Doom], bytes_max: int, sure: int) -> list[Doom]:
        """Carry out as many dooms as one entry may, up to the first that goes nowhere, but for the first `sure` of
        them: those do. Returns what was taken off `dooms`. Raises EntryCorrupt."""
        taken: list[Doom] = []
        while dooms and self.letters < LETTERS_MAX and self.size < bytes_max and not self.is_unsure:
            doom = dooms.popleft()
            queue = self._queues.get(doom.queue)
            if queue is not None:
                stop = self._take(queue, doom, bytes_max, is_sure=len(taken) < sure)
                if stop < doom.end:
                    dooms.appendleft(Doom(doom.queue, stop, doom.end, doom.reason))
                    doom = Doom(doom.queue, doom.first, stop, doom.reason)
            taken.append(doom)
        return taken

    def _take(self, queue: LeaderQueue, doom: Doom, bytes_max: int, *, is_sure: bool) -> int:
        """Returns where it ended."""
        if queue.settings.dead_letter_exchange is None:
            self.settles += (queue.id, doom.first, doom.end - doom.first)
            return doom.end
        for first, end in queue.state.alive_parts(doom.first, doom.end):
            for seq, count, index, slot in queue.state.places(first, end):
                payloads = self._payloads.get(index)
                for i in range(count):
                    if self.letters >= LETTERS_MAX or self.size >= bytes_max:
                        return seq + i
                    if not self.send(queue.id, queue.settings, payloads.record(slot + i), doom.reason, seq + i):
                        if not is_sure:
                            self.is_unsure = True
                            return seq + i
                        self.settles += (queue.id, seq + i, 1)
        return doom.end

    def send(self, queue: QueueId, settings: QueueSettings, record: bytes, reason: Reason, seq: int | None) -> bool:
        """The record of message `seq` (None: it never was in the queue) goes to its queue's dead letter exchange.

        False: it goes nowhere.
        """
        assert settings.dead_letter_exchange is not None
        for name in (settings.dead_letter_exchange, settings.dead_letter_routing_key or ""):
            if len(name.encode()) > SHORTSTR_MAX:
                return False
        letter = die(
            record,
            queue=settings.name,
            reason=reason,
            time_ms=self._time_ms,
            exchange=settings.dead_letter_exchange,
            routing_key=settings.dead_letter_routing_key,
        )
        targets = self._surroundings.dead_letter_targets(
            queue, settings.dead_letter_exchange, letter.routing_keys, letter.properties
        )
        own: int | None = None
        sent = False
        for target in targets:
            if goes_round(letter.headers, target.name, reason):
                continue
            priority = letter.priority if target.has_priorities else 0
            if target.shard == self._shard:
                if own is None:
                    own = self._add(letter.record)
                    self._prioritize(own, letter, any(t.has_priorities for t in targets))
                slot, into = own, target.queue
            else:
                slot, into = self._add(_POST.pack(target.queue, priority) + letter.record), outbox(target.shard)
            self._moves += (queue if seq is not None else 0, seq or 0, into, slot)
            sent = True
        self.letters += 1
        return sent

    def kept_out(self, queue: LeaderQueue, record: bytes) -> None:
        """A publish found the queue full, and goes where its dead letters go."""
        if queue.settings.dead_letter_exchange is not None:
            self.send(queue.id, queue.settings, record, Reason.MAXLEN, None)

    def _prioritize(self, slot: int, letter: DeadLetter, wanted: bool) -> None:
        if wanted and letter.priority:
            self._marks += (slot, Mark.PRIORITY, letter.priority)

    def _add(self, record: bytes) -> int:
        self._records.append(record)
        self._sizes.append(len(record))
        self.size += len(record)
        return len(self._sizes) - 1
