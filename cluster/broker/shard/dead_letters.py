"""From doomed messages to one entry's operations: a settle, or a move to where their queue's dead letters go.

Law: a message leaves its queue and turns up in its targets by one entry. A target in another shard gets it by way of
this shard's outbox for that shard, which is a queue of its own: what stands there is `_POST`, then the record. A
message that goes nowhere (no exchange, no route, or round in a circle) is settled, as RabbitMQ drops it; but not by a
copy of the catalog that may be older than the message's death, or has not even heard of its queue.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

from cluster.broker.shard.columns import pack_column, pack_numbers
from cluster.broker.shard.death import DeadLetter, Reason, die, goes_round, parted
from cluster.broker.shard.departures import Departures, Doom
from cluster.broker.shard.entry import HIDDEN_QUEUES, LeaderOps, QueueId
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.settings import PLAIN, UNKNOWN, QueueSettings
from cluster.broker.shard.surroundings import Surroundings, Target

_POST = Struct(">QB")
"""What stands before a record in an outbox: target queue, priority."""
SHORTSTR_MAX = 255
"""Bytes of the name of an exchange or a routing key; what is longer leads nowhere."""
EFFORT_MAX = 1000
"""What the dead letters of one entry may cost, in units of about 20 us: one for each copy, `_HEADER_EFFORT` for a
header that has to be made, and one for each `_EFFORT_BYTES` of that. Heartbeats wait meanwhile; what is left, for the
next entry. So of messages with the same properties nearly 1000 leave at once, and of others 200."""
_HEADER_EFFORT = 4
_EFFORT_BYTES = 128


def outbox(shard: int) -> QueueId:
    """The hidden queue of what goes to another shard."""
    return QueueId(HIDDEN_QUEUES + shard)


def open_post(post: bytes) -> tuple[QueueId, int, bytes]:
    """(target queue, priority, record) of what stands in an outbox."""
    queue, priority = _POST.unpack_from(post)
    return QueueId(queue), priority, post[_POST.size :]


class _Way(NamedTuple):
    """Where messages go that die alike, and what becomes of their records, see `parted`."""

    letter: DeadLetter
    before_size: bytes
    properties: bytes
    targets: list[Target]
    has_priorities: bool


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
        self.effort = 0
        """See EFFORT_MAX."""
        self.size = 0
        """Bytes of records."""
        self.is_unsure = False
        """Has a message no place to go, or a queue that is not known, by a copy of the catalog of which nobody knows
        whether it is the latest?"""
        self.is_held = False
        """Does a message with a place to go wait for room?"""
        self._moves: list[int] = []
        self._marks: list[int] = []
        self._sizes: array[int] = array("I")
        self._records: list[bytes] = []
        self._ways: dict[tuple[int, Reason, bytes, bytes], _Way | None] = {}
        """By queue, reason, and what makes messages die alike; None for nowhere."""
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

    def take(self, dooms: Departures, bytes_max: int, sure: int) -> list[Doom]:
        """Carry out as many dooms as one entry may, up to the first that goes nowhere, but for the first `sure` of
        them: those do; or that waits for room. Returns what was taken off `dooms`. Raises EntryCorrupt."""
        taken: list[Doom] = []
        while dooms and self.effort < EFFORT_MAX and self.size < bytes_max and not (self.is_unsure or self.is_held):
            doom = dooms.take()
            queue = self._queues.get(doom.queue)
            if queue is not None:
                stop = self._take(queue, doom, bytes_max, is_sure=len(taken) < sure)
                if stop < doom.end:
                    dooms.put_back([Doom(doom.queue, stop, doom.end, doom.reason)])
                    doom = Doom(doom.queue, doom.first, stop, doom.reason)
            taken.append(doom)
        return taken

    def _take(self, queue: LeaderQueue, doom: Doom, bytes_max: int, *, is_sure: bool) -> int:
        """Returns where it ended."""
        settings = queue.settings
        if settings is PLAIN or settings is UNKNOWN:
            settings = self._surroundings.settings(queue.id)
            if settings is UNKNOWN and not is_sure:
                self.is_unsure = True
                return doom.first
        if settings.dead_letter_exchange is None:
            self.settles += (queue.id, doom.first, doom.count)
            self.effort += 1
            return doom.end
        if not self._surroundings.has_room:
            self.is_held = True
            return doom.first
        for first, end in queue.state.alive_parts(doom.first, doom.end):
            for seq, count, index, slot in queue.state.places(first, end):
                payloads = self._payloads.get(index)
                for i in range(count):
                    if self.effort >= EFFORT_MAX or self.size >= bytes_max:
                        return seq + i
                    if not self.send(queue.id, settings, payloads.record(slot + i), doom.reason, seq + i):
                        if not is_sure:
                            self.is_unsure = True
                            return seq + i
                        self.settles += (queue.id, seq + i, 1)
        return doom.end

    def send(self, queue: QueueId, settings: QueueSettings, record: bytes, reason: Reason, seq: int | None) -> bool:
        """The record of message `seq` (None: it never was in the queue) goes to its queue's dead letter exchange.

        False: it goes nowhere.
        """
        before_size, size, properties, body = parted(record)
        alike = (queue, reason, before_size, properties)
        if alike not in self._ways:
            self._ways[alike] = self._way(queue, settings, record, reason)
            self.effort += _HEADER_EFFORT + (len(before_size) + len(properties)) // _EFFORT_BYTES
        way = self._ways[alike]
        self.effort += 1
        if way is None:
            return False
        dead = b"".join((way.before_size, size, way.properties, body))
        own: int | None = None
        for target in way.targets:
            if target.shard == self._shard:
                if own is None:
                    own = self._add(dead)
                    self._prioritize(own, way.letter, way.has_priorities)
                slot, into = own, target.queue
            else:
                priority = way.letter.priority if target.has_priorities else 0
                slot, into = self._add(_POST.pack(target.queue, priority) + dead), outbox(target.shard)
            self._moves += (queue if seq is not None else 0, seq or 0, into, slot)
        self.effort += len(way.targets) - 1
        return True

    def _way(self, queue: QueueId, settings: QueueSettings, record: bytes, reason: Reason) -> _Way | None:
        assert settings.dead_letter_exchange is not None
        for name in (settings.dead_letter_exchange, settings.dead_letter_routing_key or ""):
            if len(name.encode()) > SHORTSTR_MAX:
                return None
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
        headers = letter.headers
        taking = [target for target in targets if not goes_round(headers, target.name, reason)]
        if not taking:
            return None
        before_size, _, properties, _ = parted(letter.record)
        return _Way(letter, before_size, properties, taking, any(target.has_priorities for target in targets))

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
