"""What a leader decides about a queue by time, by length and by how often a message came back.

Law: nothing here happens to a queue that is nothing special. Nothing looks at more than a piece of a deep queue at
once, and the rest of it comes with the next tick: who leads must not be silent for as long as an election. Time is the
last `tick` or entry; what is due is found in a heap of deadlines, never by looking at all queues. No message is from
the future. Messages that are to leave stand in `dying` and in `dooms` until the log has carried that out. TTL looks
at the head of the queue (of each priority), as RabbitMQ does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from heapq import heapify, heappop, heappush

from cluster.broker.shard.death import Reason
from cluster.broker.shard.departures import Departures, Doom
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.intervals import IntervalSet, Range
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.ready import Ready, SortedReady, heads, move
from cluster.broker.shard.settings import Overflow

ZERO_TTL_MS = 50
"""How long a message with TTL 0 may wait for the credit of consumers that are there; without any it is gone at once. A
consumer that has credit gets it, however long the log took."""
SORTED_AT_ONCE = 5_000
"""Messages of a backlog whose priorities are looked up at once; until all are, the queue hands nothing out."""
WEIGHED_AT_ONCE = 4 << 20
"""Bytes of entries that are read to weigh a backlog at once; a message counts `_MESSAGE_COSTS` beside."""
_MESSAGE_COSTS = 512
LEAVING_AT_ONCE = 2_000
"""Messages that leave one by one, by their own expiration or too heavy, before others have a turn; and what came to the
queue by so many entries, where all of it has one TTL; and those whose delays are over."""
AGAIN_MS = 1000
"""When an unused queue is named again if the catalog has not deleted it."""


def _stretches(seqs: Iterable[int]) -> IntervalSet:
    """Those that follow each other, together. `seqs` ascend."""
    return IntervalSet((seq, seq + 1) for seq in seqs)


class Keeper:
    """One leader's. `dooms` is what has to go through the log, `unused` queues that the catalog shall delete."""

    def __init__(self, payloads: PayloadCache, now_ms: int) -> None:
        self.now_ms = self._began_ms = now_ms
        self.dooms = Departures()
        self.unused: dict[QueueId, None] = {}
        self._payloads = payloads
        self._deadlines: list[tuple[int, QueueId]] = []
        """A heap; a queue's latest note is the one that its `deadline_ms` says."""

    # ---- time

    def due(self) -> list[QueueId]:
        """Queues for which it is time."""
        due: list[QueueId] = []
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= self.now_ms:
            due.append(heappop(deadlines)[1])
        return due

    def note(self, queue: LeaderQueue) -> None:
        """Look at the queue again when its next deadline comes."""
        deadline = min(self._deadlines_of(queue), default=None)
        if deadline is not None and (queue.deadline_ms is None or deadline < queue.deadline_ms):
            queue.deadline_ms = deadline
            heappush(self._deadlines, (deadline, queue.id))

    def _deadlines_of(self, queue: LeaderQueue) -> Iterable[int]:
        if queue.settings.expires_ms is not None and not queue.consumers and not queue.doomed:
            yield queue.used_ms + queue.settings.expires_ms
        if self._is_behind(queue):
            yield self.now_ms
        for seq in heads(queue.ready):
            if (deadline := self._deadline(queue, seq)) is not None:
                yield deadline
        if queue.due:
            yield queue.due[0][0]

    @staticmethod
    def _is_behind(queue: LeaderQueue) -> bool:
        """Is there more of it to be looked at in the next tick?"""
        settings = queue.settings
        places = [place for place in queue.waiting if isinstance(place, SortedReady)]
        if not all(place.is_sorted and place.is_weighed for place in places):
            return True
        size_max = settings.max_length_bytes
        if size_max is None or settings.overflow is not Overflow.DROP_HEAD:
            return False
        return any(place.bytes > size_max for place in places if place is not queue.delayed)

    # ---- a queue, before and after its messages are handed out

    def settings_changed(self, queue: LeaderQueue) -> None:
        """Everything that is not held or leaving finds its place anew."""
        settings, state = queue.settings, queue.state
        loose = [*queue.ready, *queue.parked]
        priority_max = settings.max_priority

        def priority_of(seq: int) -> int:
            # A queue that nothing has come to yet gets its state with the first message.
            return min(queue.state.value(seq, Mark.PRIORITY) or 0, priority_max)

        queue.ready = ready = self._place(queue, loose, priority_of if priority_max else None)
        if isinstance(ready, SortedReady):
            ready.sort(SORTED_AT_ONCE)
        queue.parked = self._place(queue, ())
        queue.delayed = self._place(queue, list(queue.delayed))
        if not settings.single_active_consumer:
            for holder in queue.holders.values():
                holder.waiting = False
                queue.wake(holder)
        self.hold_back(queue, state.head, state.next_seq)
        if settings.delivery_limit is not None:
            self.returned(queue, state.returned.above(settings.delivery_limit))

    def _place(
        self, queue: LeaderQueue, parts: Iterable[Range], priority_of: Callable[[int], int] | None = None
    ) -> Ready:
        """Of messages of the queue: sorted and weighed as far as its settings want that."""
        weighs = queue.settings.max_length_bytes is not None
        if weighs or priority_of is not None:
            sizes_of = partial(self._sizes, queue) if weighs else None
            return SortedReady(priority_of, sizes_of, parts)
        return IntervalSet(parts)

    def _sizes(self, queue: LeaderQueue, first: int, end: int, patience: int) -> tuple[list[int], int]:
        """See `SortedReady`. What has to be read for it is not kept: nobody is going to get it now."""
        sizes: list[int] = []
        at, entry = 0, None
        for _, run, index, slot in queue.state.places(first, end):
            if entry is None or index != at:
                at, entry = index, self._payloads.kept(index)
                if entry is None:
                    entry = self._payloads.look(index)
                    patience -= len(entry.data)
            count = min(run, max(1, patience // _MESSAGE_COSTS))
            sizes += [entry.body_size(i) for i in range(slot, slot + count)]
            patience -= count * _MESSAGE_COSTS
            if count < run or patience <= 0:
                break
        return sizes, patience

    def hold_back(self, queue: LeaderQueue, first: int, end: int) -> None:
        """What of `[first, end)` is ready and has a delay that is not over waits for it."""
        delays = queue.state.marks.get(Mark.DELAY)
        if delays is None:
            return
        waiting: list[tuple[int, int]] = []
        enqueued_ms = run_end = 0
        for seq in delays.within(first, end):
            if seq >= run_end:
                enqueued_ms, run_end = self._enqueued_ms(queue, seq), queue.state.run_end(seq)
            due_ms = enqueued_ms + delays[seq]
            if due_ms > self.now_ms:
                waiting.append((due_ms, seq))
        held = IntervalSet()
        for a, b in _stretches([seq for _, seq in waiting]):
            for c, d in move(queue.ready, queue.delayed, a, b):
                held.add(c, d)
        if held.count < len(waiting):
            waiting = [each for each in waiting if each[1] in held]
        if len(waiting) > len(queue.due):
            queue.due += waiting
            heapify(queue.due)
        else:
            for each in waiting:
                heappush(queue.due, each)

    def returned(self, queue: LeaderQueue, parts: Iterable[Range]) -> None:
        """Ready messages that came back too often leave, or are parked where there is no dead letter exchange."""
        limit = queue.settings.delivery_limit
        if limit is None:
            return
        for first, end in parts:
            for a, b, count in queue.state.returned.runs(first, end):
                if count <= limit:
                    continue
                if queue.settings.dead_letter_exchange is not None:
                    self.doom(queue, queue.ready.remove(a, b), Reason.DELIVERY_LIMIT)
                else:
                    move(queue.ready, queue.parked, a, b)

    def before(self, queue: LeaderQueue) -> bool:
        """Delays that are over end; what is too old leaves; one of the consumers is the active one.

        False: there is more to be done before anything is handed out, and another tick for it.
        """
        ready = queue.ready
        unweighed = [place for place in queue.waiting if isinstance(place, SortedReady) and not place.is_weighed]
        for place in unweighed[:1]:
            place.weigh(WEIGHED_AT_ONCE)
        if isinstance(ready, SortedReady) and not ready.is_sorted:
            ready.sort(SORTED_AT_ONCE)
            if not ready.is_sorted:
                return False
        if queue.due:
            self._release(queue)
        if not self.expire(queue):
            return False
        if queue.settings.single_active_consumer:
            queue.elect()
        return True

    def after(self, queue: LeaderQueue) -> None:
        """What is too much leaves; an unused queue is named; the next deadline is noted."""
        settings = queue.settings
        ready = queue.ready
        queue.used_ms = queue.used_ms or self.now_ms
        offered = queue.offered_below
        here = queue.state.watermark if queue.turn or queue.gets else queue.state.next_seq
        queue.offered_below = max(offered, here)
        if offered < queue.offered_below:
            self.expire(queue)
        if settings.overflow is Overflow.DROP_HEAD and (isinstance(ready, IntervalSet) or ready.is_sorted):
            self._cut(queue, ready)
            self._cut(queue, queue.parked)
        if settings.expires_ms is not None and not queue.doomed:
            if queue.consumers:
                queue.used_ms = self.now_ms
            elif queue.used_ms + settings.expires_ms <= self.now_ms and not queue.leaving:
                self.unused[queue.id] = None
                queue.used_ms = self.now_ms - settings.expires_ms + AGAIN_MS
        self.note(queue)

    def _cut(self, queue: LeaderQueue, place: Ready) -> None:
        """What is too much there leaves, the first first."""
        count_max, size_max = queue.settings.max_length, queue.settings.max_length_bytes
        if count_max is not None and place.count > count_max:
            self.doom(queue, place.take(place.count - count_max, queue.state.next_seq), Reason.MAXLEN)
        if size_max is not None and isinstance(place, SortedReady):
            for _ in range(LEAVING_AT_ONCE):
                if place.bytes <= size_max:
                    break
                self.doom(queue, place.take(1, queue.state.next_seq), Reason.MAXLEN)

    def doom(self, queue: LeaderQueue, parts: Iterable[Range], reason: Reason) -> None:
        """Messages that have just been taken out of their place leave the queue."""
        for first, end in parts:
            queue.dying.add(first, end)
            self.dooms.add(Doom(queue.id, first, end, reason))

    def _release(self, queue: LeaderQueue) -> None:
        """What has waited longest over its delay, and a piece of it at once."""
        over: list[int] = []
        while queue.due and queue.due[0][0] <= self.now_ms and len(over) < LEAVING_AT_ONCE:
            over.append(heappop(queue.due)[1])
        for first, end in _stretches(sorted(over)):
            move(queue.delayed, queue.ready, first, end)

    def expire(self, queue: LeaderQueue) -> bool:
        """What is too old at the head leaves. False: there is more of it."""
        if queue.settings.message_ttl_ms is None and Mark.EXPIRATION not in queue.state.marks:
            return True
        expired = IntervalSet()
        looked_at = 0
        while old := [seq for seq in heads(queue.ready) if self._is_old(queue, seq)]:
            for seq in old:
                end, cost = self._old_stretch(queue, seq)
                looked_at += cost
                for a, b in queue.ready.remove(seq, end):
                    expired.add(a, b)
            if looked_at >= LEAVING_AT_ONCE:
                break
        self.doom(queue, list(expired), Reason.EXPIRED)
        return not old

    def fresh(self, queue: LeaderQueue, taken: Iterable[Range]) -> list[Range]:
        """Of ready messages that were taken to be handed out, those that are not too old. The others leave."""
        own = queue.state.marks[Mark.EXPIRATION]
        fresh: list[Range] = []
        for part in taken:
            left = IntervalSet([part])
            old = left.remove_all([*_stretches([seq for seq in own.within(*part) if self._is_old(queue, seq)])])
            self.doom(queue, old, Reason.EXPIRED)
            fresh += left
        return fresh

    def _old_stretch(self, queue: LeaderQueue, first: int) -> tuple[int, int]:
        """Where that ends which is too old together with `first`, a head, and what it cost to see that."""
        state, ready = queue.state, queue.ready
        if Mark.EXPIRATION not in state.marks:
            return state.run_end(first), 1
        end = first + 1
        if isinstance(ready, IntervalSet):
            stop = min(ready.ends[0], first + LEAVING_AT_ONCE)
            while end < stop and self._is_old(queue, end):
                end += 1
        return end, end - first

    def _is_old(self, queue: LeaderQueue, seq: int) -> bool:
        deadline = self._deadline(queue, seq)
        if deadline is None or deadline > self.now_ms:
            return False
        return seq < queue.offered_below or self._ttl_ms(queue, seq) != 0

    def _ttl_ms(self, queue: LeaderQueue, seq: int) -> int | None:
        ttl = queue.settings.message_ttl_ms
        own = queue.state.value(seq, Mark.EXPIRATION)
        return own if own is not None and (ttl is None or own < ttl) else ttl

    def _deadline(self, queue: LeaderQueue, seq: int) -> int | None:
        """When a message is too old for its queue, Unix milliseconds; None for never."""
        ttl = self._ttl_ms(queue, seq)
        if ttl is None:
            return None
        if ttl == 0 and any(holder.present for holder in queue.holders.values()):
            ttl = ZERO_TTL_MS
        return self._enqueued_ms(queue, seq) + ttl

    def _enqueued_ms(self, queue: LeaderQueue, seq: int) -> int:
        """Unix milliseconds. What a leader with a clock far ahead has taken came, for this one, when it began."""
        enqueued_ms = queue.state.enqueued_at(seq)
        return enqueued_ms if enqueued_ms <= self.now_ms else self._began_ms
