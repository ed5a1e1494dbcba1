"""One queue as its leader sees it: what is ready, who holds what, who waits.

Law: every alive message of the queue is in exactly one place: `ready`, `unacked` under its holder, `purging` (a purge
is on its way), `dying` (on its way out by the queue's own rules), `delayed` (not due yet) or `parked` (came back too
often, and there is nowhere to send it).
What is on its way by an operation that the log has not applied yet stays where it was until then. Only messages
below the replicated watermark are handed out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.holder import Holder, HolderState, ghost_of
from cluster.broker.shard.intervals import IntervalMap, IntervalSet, Range
from cluster.broker.shard.orders import Order, Orders
from cluster.broker.shard.queue_state import QueueState
from cluster.broker.shard.ready import Ready
from cluster.broker.shard.settings import PLAIN, UNKNOWN, QueueSettings

WATERMARK_CHUNK = 2000
"""Messages of a backlog that are declared as possibly delivered at a time (one replicated operation each)."""


class LeaderQueue:
    """Leader-only state of one queue."""

    __slots__ = (
        "able_ms",
        "able_since_ms",
        "active",
        "closed_until_ms",
        "coming",
        "coming_bytes",
        "coming_keys",
        "deadline_ms",
        "delayed",
        "delivered",
        "doomed",
        "due",
        "dying",
        "gets",
        "holders",
        "id",
        "is_able",
        "offered_below",
        "orders",
        "parked",
        "prioritized",
        "purging",
        "ready",
        "settings",
        "state",
        "stirred_ms",
        "suspect_below",
        "turn",
        "unacked",
        "used_ms",
        "watermark_asked",
    )

    def __init__(self, queue: QueueId, state: QueueState, settings: QueueSettings = PLAIN) -> None:
        self.id = queue
        self.state = state
        self.settings = settings
        self.ready: Ready = IntervalSet(state.alive_parts(state.head, state.next_seq))
        self.unacked: IntervalMap[Holder] = IntervalMap()
        self.purging = IntervalSet()
        self.dying = IntervalSet()
        self.delayed: Ready = IntervalSet()
        self.due: list[tuple[int, int]] = []
        """A heap of (Unix milliseconds, seq) for `delayed`; may name some that have left."""
        self.parked: Ready = IntervalSet()
        self.deadline_ms: int | None = None
        """When time has something to do here, as the keeper noted it; None for never."""
        self.used_ms = 0
        """When the queue was used last, as far as x-expires goes; the consumers that it has use it all the time."""
        self.stirred_ms = 0
        """When something came, went or was asked for last, Unix milliseconds; 0 before that."""
        self.is_able = False
        """Was a consumer waiting for messages when the queue was left?"""
        self.able_since_ms = 0
        self.able_ms = 0
        """How long one was, up to `able_since_ms` if one is."""
        self.coming = 0
        """Messages in entries that are not applied yet; counted where publishes may be kept out."""
        self.coming_bytes = 0
        """Of their bodies, where these are limited."""
        self.coming_keys: dict[int, None] = {}
        """Their deduplication keys."""
        self.delivered = 0
        """Messages handed out since this leader began."""
        self.active: Holder | None = None
        self.prioritized = False
        """Has there been a consumer with a priority?"""
        self.orders = Orders()
        self.holders: dict[tuple[int, int], Holder] = {}
        self.turn: deque[Holder] = deque()
        """Consumers with credit, the next to be served first; each at most once."""
        self.gets: deque[tuple[int, int, Holder]] = deque()
        """(node, request id, holder) of basic.get calls that wait for the watermark; bounded by the channels."""
        self.suspect_below = state.watermark
        """Watermark when this leader began: what lies below may have been delivered by an earlier leader."""
        self.watermark_asked = state.watermark
        self.offered_below = 0
        """What lies below has been there for whoever was waiting."""
        self.doomed = False
        """Has the catalog deleted it?"""
        self.closed_until_ms = 0
        """Somebody is deleting it: Unix milliseconds until when it takes no consumer, unless the catalog says more."""
        for first, end in state.limbo:
            self.ready.remove(first, end)
            self.dying.add(first, end)

    @property
    def waiting(self) -> tuple[Ready, Ready, Ready]:
        """What nobody holds and what is not leaving, by its places."""
        return self.ready, self.delayed, self.parked

    @property
    def leaving(self) -> int:
        """Messages on their way to where the queue's dead letters go. What just goes is nobody's any more."""
        return self.dying.count if self.settings.dead_letter_exchange is not None else 0

    def counts(self) -> list[int]:
        """Ready, unacked, consumers, parked; and of all time enqueued and settled, of this leader's delivered."""
        state = self.state
        settled = state.next_seq - state.alive
        return [
            self.ready.count,
            self.unacked.count,
            self.consumers,
            self.parked.count,
            state.next_seq,
            settled,
            self.delivered,
        ]

    def turned(self, now_ms: int) -> None:
        """A consumer waits for messages that none waited for, or none any more."""
        self.is_able = not self.is_able
        if self.is_able:
            self.able_since_ms = now_ms
        else:
            self.able_ms += now_ms - self.able_since_ms

    def able_in_all_ms(self, now_ms: int) -> int:
        """How long consumers could take at once what came, since this leader began."""
        return self.able_ms + (now_ms - self.able_since_ms if self.is_able else 0)

    @property
    def chosen(self) -> Holder | None:
        """The consumer that alone is served: the active one of several, or an exclusive one."""
        if self.settings.single_active_consumer:
            return self.active
        return next((holder for holder in self.holders.values() if holder.exclusive and holder.present), None)

    @property
    def special(self) -> bool:
        """Is there more to it than order?"""
        return self.settings is not PLAIN or bool(self.state.marks)

    def join(self, holder: Holder) -> None:
        self.holders[(holder.node, holder.consumer)] = holder
        self.prioritized = self.prioritized or holder.priority != 0
        holder.waiting = self.settings.single_active_consumer and self.active is not holder
        self.wake(holder)

    def wake(self, holder: Holder) -> None:
        if not holder.queued and holder.hungry:
            holder.queued = True
            self.turn.append(holder)

    def claim(self, claims: Sequence[tuple[int, int, Holder]]) -> None:
        """A home node says that its holders have these, `(first, end, holder)`, ascending and disjoint: take them from
        `ready`, or from their lost former selves. All of a node at once: each look may be one at everything.

        What another node has by now stays there. An answer that the first one still sends counts: a settle
        settles; a return is void, unless the message has come to that node again meanwhile: then it comes back
        once more, as redelivered.
        """
        parts = [(first, end) for first, end, _ in claims]
        found: list[tuple[int, int, Holder | None]] = [*self.unacked.cut_all(parts)]
        for place in (self.ready, self.parked):
            found += [(a, b, None) for a, b in place.remove_all(parts)]
        found.sort(key=itemgetter(0))
        claimed: list[tuple[int, int, Holder]] = []
        at = 0
        for a, b, owner in found:
            while claims[at][1] <= a:
                at += 1
            holder = claims[at][2]
            if owner is None or (owner.node == holder.node and owner.state is not HolderState.PRESENT):
                owner = holder
            claimed.append((a, b, owner))
        self.unacked.put_all(claimed)

    def lock(self, parts: list[Range], node: int) -> None:
        """A transaction of `node` answers these: whoever holds them keeps them, and nobody else gets them."""
        ghost = ghost_of(node)
        for first, end in parts:
            for place in self.waiting:
                for a, b in place.remove(first, end):
                    self.unacked.put(a, b, ghost)

    def forsaken(self, parts: list[Range]) -> list[Range]:
        """Those of `parts` that nobody holds who would give them back."""
        lost: list[Range] = []
        for first, end in parts:
            for a, b, owner in self.unacked.cut(first, end):
                self.unacked.put(a, b, owner)
                if owner.state is not HolderState.PRESENT:
                    lost.append((a, b))
        return lost

    def part(self, node: int) -> list[Holder]:
        """The node is lost, or has come again: what it asked is void, its holders are gone. Returns these."""
        gone = [self.holders.pop(key) for key in [key for key in self.holders if key[0] == node]]
        for owner in chain(gone, (owner for _, _, owner in self.unacked if owner.node == node)):
            if owner.state is HolderState.PRESENT:
                owner.state = HolderState.GONE
        self.gets = deque([g for g in self.gets if g[0] != node])
        self.orders.part(node)
        return gone

    def take_orphans(self, node: int) -> list[Range]:
        """What holders of the node that are gone still have, to be given back through the log; told once."""
        orphans = [part for part in self.unacked if part[2].state is HolderState.GONE and part[2].node == node]
        for _, _, owner in orphans:
            owner.state = HolderState.RETURNING
        return [(first, end) for first, end, _ in orphans]

    def give_back(self, parts: list[Range], node: int) -> None:
        """The log says these came back from `node` (0: from lost nodes): ready again, in their place."""
        for first, end in parts:
            for a, b, owner in self.unacked.cut(first, end):
                if owner.node == node or owner.state is not HolderState.PRESENT:
                    self.ready.add(a, b)
                else:
                    self.unacked.put(a, b, owner)

    def settle(self, parts: list[Range]) -> None:
        for first, end in parts:
            cut = self.unacked.cut(first, end)
            if len(cut) != 1 or cut[0][1] - cut[0][0] != end - first:
                for place in (*self.waiting, self.purging, self.dying):
                    place.remove(first, end)

    def reject(self, parts: list[Range]) -> list[Range]:
        """The log says that a consumer will not have these: on their way out. Returns those that were not before."""
        leaving: list[Range] = []
        for first, end in parts:
            leaving += [(a, b) for a, b, _ in self.unacked.cut(first, end)]
            for place in self.waiting:
                leaving += place.remove(first, end)
        for first, end in leaving:
            self.dying.add(first, end)
        return leaving

    def purge(self, node: int, request: int) -> Order:
        """Everything that is ready shall be settled: the caller sees to it. Remembered unless it is nothing."""
        count = self.ready.count + self.parked.count
        ranges = IntervalSet(sorted([*self.ready.take(self.ready.count, self.state.next_seq), *self.parked]))
        self.parked.clear()
        purge = Order(node, request, count, list(ranges))
        for first, end in purge.ranges:
            self.purging.add(first, end)
        if count:
            self.orders.purges.append(purge)
        return purge

    def retry(self, node: int, request: int) -> Order:
        """Returns of everything that is parked shall count no more: the caller sees to it. Remembered unless it is
        nothing."""
        retry = Order(node, request, self.parked.count, list(self.parked))
        if retry.count:
            self.orders.retries.append(retry)
        return retry

    def forgive(self, parts: list[Range]) -> None:
        """What is parked of these is ready. Their returns are forgotten, not that somebody had them."""
        for first, end in parts:
            for a, b in self.parked.remove(first, end):
                self.ready.add(a, b)
                self.suspect_below = max(self.suspect_below, b)

    def leave(self, holder: Holder) -> None:
        """The holder takes nothing more; what it holds stays with it until it is settled or comes back."""
        self.gets = deque([g for g in self.gets if g[2] is not holder])
        holder.credit = 0
        holder.passive = True
        holder.exclusive = False

    @property
    def consumers(self) -> int:
        """Consumers that are present."""
        return sum(1 for h in self.holders.values() if h.present)

    def others(self, node: int, consumer: int) -> list[Holder]:
        """Present consumers but this one."""
        return [h for key, h in self.holders.items() if h.present and key != (node, consumer)]

    def elect(self) -> None:
        """Of consumers of which one at a time is served: the active one stays so, or the next one becomes it.

        Under a new leader the active one is who holds something, or else who was served last.
        """
        if self.active is not None and self.active.present:
            return
        present = [h for h in self.holders.values() if h.present]
        holding = {id(owner) for _, _, owner in self.unacked}
        self.active = max(present, key=lambda h: (id(h) in holding, h.served_end, h.priority), default=None)
        for holder in present:
            holder.waiting = holder is not self.active
            self.wake(holder)

    def next_in_turn(self) -> Holder:
        """Take the consumer that is to be served next: by priority, then by turn."""
        if not self.prioritized:
            return self.turn.popleft()
        chosen = max(self.turn, key=lambda holder: (holder.hungry, holder.priority))
        self.turn.remove(chosen)
        return chosen

    def redelivered_split(self, first: int, end: int) -> list[tuple[int, int, int]]:
        """Cut `[first, end)` where the answer to "was it delivered before?" changes: see `messages.Delivery`."""
        returned = self.state.returned
        if not returned and first >= self.suspect_below:
            return [(first, end, False)]
        if not returned and end <= self.suspect_below:
            return [(first, end, True)]
        counts_all = self.settings.is_quorum
        parts: list[tuple[int, int, int]] = []
        for a, b, count in returned.runs(first, end):
            if count:
                split = [(a, b, count + 1 if counts_all else 1)]
            else:
                middle = min(max(a, self.suspect_below), b)
                split = [(a, middle, 1), (middle, b, 0)]
            for begin, stop, flag in split:
                if parts and parts[-1][2] == flag:
                    parts[-1] = (parts[-1][0], stop, flag)
                elif begin < stop:
                    parts.append((begin, stop, flag))
        return parts

    def hot(self, backlog_max: int) -> bool:
        """Will what is enqueued now be delivered soon? Then its watermark goes with its enqueue.

        Not where deliveries are limited, or may turn out to be: there, what lies below the watermark has been handed
        out indeed.
        """
        settings = self.settings
        if settings is not PLAIN and (settings is UNKNOWN or settings.delivery_limit is not None):
            return False
        return bool(self.turn or self.holders) and self.ready.count <= backlog_max

    def take_suspects(self) -> list[Range]:
        """Messages that an earlier leader handed out to nobody who is still there: on their way back, and counted."""
        lost = self.ready.remove(0, self.suspect_below)
        ghost = ghost_of(0)
        self.unacked.put_all([(first, end, ghost) for first, end in lost])
        return lost

    @property
    def is_empty(self) -> bool:
        """Is nothing lost if it goes? (What consumers hold does not count, as in RabbitMQ.)"""
        return not self.deletable

    @property
    def deletable(self) -> int:
        """Messages that go with it, but for what consumers hold."""
        return sum([place.count for place in self.waiting]) + self.leaving

    @property
    def appetite(self) -> int:
        """Messages that would be handed out now, if there were enough."""
        return sum([holder.credit for holder in self.turn if holder.hungry]) + len(self.gets)
