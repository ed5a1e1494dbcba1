"""The leader of a shard: takes batches in, hands messages out (leader-local deliveries).

Law: pure. Inputs are method calls; outputs are `take_entry` (the next log entry) and `take_out` (what to tell
which home node). Whatever changes the replicated state goes through an entry and shows its effect in
`applied`; a delivery does not, its settle or return does. While `attaching`, batches are taken but nothing is
delivered: the home nodes are telling what their channels hold. So it is with a queue while its settings are UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.broker.shard.arbiter import Arbiter, Words
from cluster.broker.shard.death import REASONS, Reason
from cluster.broker.shard.departures import Doom
from cluster.broker.shard.desk import Desk
from cluster.broker.shard.dispatch import Dispatcher, Outbox
from cluster.broker.shard.entry import HIDDEN_QUEUES, SHARD_SESSIONS, Batch, QueueId
from cluster.broker.shard.figures import Figures
from cluster.broker.shard.forwarder import Forwarder
from cluster.broker.shard.home_nodes import HomeNodes
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import WATERMARK_CHUNK, LeaderQueue
from cluster.broker.shard.messages import AttachedConsumer, RequestOp, ToHome
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.proposals import Proposals
from cluster.broker.shard.registry import QueueRegistry, take_up
from cluster.broker.shard.settings import PLAIN, UNKNOWN
from cluster.broker.shard.state import Applied, ShardState
from cluster.broker.shard.surroundings import NOTHING, Surroundings
from cluster.broker.shard.tx_ops import TxId, Word


@dataclass(frozen=True, slots=True)
class LeaderLimits:
    """payload_cache_bytes   entries kept in memory for delivery; beyond it they are read back from the log
    hot_backlog_max       ready messages up to which new ones are declared delivered with their enqueue
    dropped_max           dropped queues that are remembered, the latest; what comes late for an older one is
                          kept until the next leader asks the catalog
    """

    payload_cache_bytes: int = 16 << 20
    hot_backlog_max: int = 2 * WATERMARK_CHUNK
    dropped_max: int = 65536


def _goes_on(batch: Batch, last: int) -> bool:
    """Is a shard's post all new?"""
    slots = len(batch.sizes) // 4
    return slots > 0 and batch.number - slots >= last


def _never(*_: object) -> bool:
    return False


class ShardLeader:
    """One term of leadership over a shard's state."""

    def __init__(
        self,
        state: ShardState,
        load: Callable[[int], bytes],
        limits: LeaderLimits = LeaderLimits(),
        deleted: Callable[[QueueId], bool] = _never,
        surroundings: Surroundings = NOTHING,
        *,
        shard: int = 0,
        incarnation: int = 1,
        now_ms: int = 0,
        is_full: Callable[[int], bool] = _never,
        is_leaving: Callable[[], bool] = _never,
    ) -> None:
        """`state` has applied the entry that opened this term.

        load(index)      a live entry from the log
        deleted(queue)   has the catalog deleted it? Asked about every queue that turns up; True is like `drop`
        shard, incarnation  under which the shard sends dead letters to others; the latter rises when it forgets
        now_ms           Unix milliseconds
        is_full(node)    shall messages for the node wait, because so many are on their way to it?
        is_leaving()     may another lead by now? Then nothing is answered from the state as it is here
        """
        self._state = state
        self._deleted = deleted
        self._surroundings = surroundings
        self.attaching = True
        self.queues = take_up(state, surroundings)
        self._received: dict[int, tuple[int, int]] = dict(state.sessions)
        self._deferred: list[tuple[int, int, RequestOp, QueueId, Sequence[int]]] = []
        """Requests that came while attaching, when what is ready is not known, or while leaving. One per channel."""
        self._is_leaving = is_leaving
        self._payloads = PayloadCache(load, limits.payload_cache_bytes)
        self._out = Outbox(is_full)
        self._restless: dict[QueueId, LeaderQueue] = {}
        self._keeper = Keeper(self._payloads, now_ms)
        self._proposals = Proposals(
            queues=self.queues,
            keeper=self._keeper,
            newcomer=self._newcomer,
            surroundings=surroundings,
            payloads=self._payloads,
            shard=shard,
            hot_backlog_max=limits.hot_backlog_max,
        )
        self._dispatcher = Dispatcher(self._payloads, self._keeper, self._out, self._proposals.watermarks)
        self._desk = Desk(self._out, self._proposals, self._keeper)
        self._forwarder = Forwarder(shard=shard, incarnation=incarnation, state=state, payloads=self._payloads)
        self._arbiter = Arbiter(state.transactions, state.sessions, self._proposals)
        self._registry = QueueRegistry(
            queues=self.queues,
            state=state,
            surroundings=surroundings,
            keeper=self._keeper,
            proposals=self._proposals,
            desk=self._desk,
            deleted=deleted,
            dropped_max=limits.dropped_max,
            forgotten=self._forgotten,
        )
        self._queue = self._registry.queue
        """Nothing stands between: it is asked for each queue of each entry."""
        self._homes = HomeNodes(self._registry, self._out, self._received, self._keeper, self._proposals)
        self.figures = Figures(
            queues=self.queues, state=state, payloads=self._payloads, proposals=self._proposals, keeper=self._keeper
        )
        for queue_id, queue in self.queues.items():
            for first, end, reason in queue.state.in_limbo():
                self._keeper.dooms.add(Doom(queue_id, first, end, REASONS[reason]), is_declared=True)
        for queue_id in self.queues:
            self._registry.is_dropped(queue_id)

    # ---- towards the log

    @property
    def wants_entry(self) -> bool:
        """Is there something to propose?"""
        return bool(self._proposals)

    def receive_batch(self, batch: Batch) -> None:
        """A home node's batch. Done before: only the receipt is repeated. Out of turn: dropped, to be re-sent."""
        incarnation, last = self._received.get(batch.node, (0, 0))
        if batch.incarnation < incarnation:
            return
        if batch.incarnation > incarnation:
            last = 0
        if batch.number == last + 1 if batch.node < SHARD_SESSIONS else _goes_on(batch, last):
            self._received[batch.node] = (batch.incarnation, batch.number)
            self._proposals.add(batch)
        elif batch.number <= last or batch.node >= SHARD_SESSIONS:
            if (batch.incarnation, batch.number) <= self._state.sessions.get(batch.node, (0, 0)):
                for queue, parts in self._homes.disclaimed(batch):
                    self._give_back(queue, parts, batch.node)
            self._receipt(batch.node)

    def _give_back(self, queue: LeaderQueue, parts: list[Range], node: int) -> None:
        queue.give_back(parts, node)
        if queue.settings is not PLAIN and not self.attaching:
            self._keeper.returned(queue, parts)
        self._restless[queue.id] = queue

    def take_entry(self, time_ms: int, bytes_max: int) -> bytes | None:
        """The next entry: as many waiting batches as fit (at least one), and the leader's own operations."""
        return self._proposals.take(time_ms, bytes_max) if self._proposals else None

    def _newcomer(self, queue_id: QueueId, is_needed: bool) -> LeaderQueue | None:
        """A queue's first message is on its way: if it has settings, they hold for that one too."""
        return self._queue(queue_id) if is_needed or self._surroundings.settings(queue_id) is not PLAIN else None

    def entry_accepted(self) -> None:
        """The entry taken last is in the log (not yet committed)."""
        self._proposals.accepted()

    def entry_refused(self) -> None:
        """The entry taken last could not be proposed now: its content is offered again."""
        self._proposals.refused()

    def applied(self, applied: Applied, data: bytes) -> None:
        """The state has applied an entry: receipts go out, messages become ready."""
        for node in applied.sessions:
            self._receipt(node)
        self._proposals.applied()
        if applied.index in self._state.live:
            self._payloads.keep(applied.index, data)
        for queue_id, first, end in applied.enqueued:
            if queue_id >= HIDDEN_QUEUES:
                self._forwarder.filled(queue_id)
                continue
            queue = self._queue(queue_id)
            if end > queue.state.head:
                queue.ready.add(max(first, queue.state.head), end)
                if queue.state.marks:
                    self._keeper.hold_back(queue, first, end)
            self._restless[queue_id] = queue
            if queue.doomed:
                self._registry.came_late(queue)
        for queue_id, parts in applied.settled:
            if queue_id >= HIDDEN_QUEUES:
                continue
            queue = self._queue(queue_id)
            queue.settle(parts)
            if queue.orders.purges:
                self._desk.done(queue.orders.purges_done(queue.state))
        for queue_id, returned, node in applied.returned:
            self._give_back(self._queue(queue_id), returned, node)
        for queue_id, parts in applied.rejected:
            leaving = self._queue(queue_id).reject(parts)
            for a, b in leaving:
                self._keeper.dooms.add(Doom(queue_id, a, b, Reason.REJECTED), is_declared=True)
        for queue_id, parts in applied.forgiven:
            queue = self._queue(queue_id)
            queue.forgive(parts)
            self._desk.done(queue.orders.retries_done(queue.parked))
            self._restless[queue_id] = queue
        for queue_id in applied.watermarks:
            self._restless[queue_id] = self._queue(queue_id)
        for queue_id, parts, node in applied.locked:
            self._queue(queue_id).lock(parts, node)
        for queue_id, parts in applied.unlocked:
            queue = self._queue(queue_id)
            self._proposals.return_lost(queue_id, queue.forsaken(parts))
        if applied.verdicts:
            self._arbiter.applied(applied.verdicts)
        for queue_id in applied.dropped:
            self._registry.forget(queue_id)
        self._payloads.evict_dead(self._state.live)

    # ---- home nodes

    def attach(self, node: int, consumers: Sequence[AttachedConsumer]) -> None:
        """What a home node's channels hold; replaces everything this leader knew of that node's consumers."""
        self._part(node)
        self._arbiter.present.add(node)
        for queue in self._homes.attach(node, consumers):
            self._restless[queue.id] = queue
        self._homes.return_orphans(node)
        self._receipt(node)

    def node_lost(self, node: int) -> None:
        """The link to a node closed: its consumers are gone, what they hold comes back through the log."""
        self._part(node)
        self._arbiter.present.discard(node)
        self._homes.return_orphans(node)

    def take_widowed(self, node: int) -> list[QueueId]:
        """See `HomeNodes.take_widowed`."""
        return self._homes.take_widowed(node)

    def _part(self, node: int) -> None:
        self._out.forget(node)
        self._deferred = [d for d in self._deferred if d[0] != node]
        for queue in self._homes.part(node):
            self._restless[queue.id] = queue

    def credit(self, node: int, queue_id: QueueId, consumer: int, messages: int, size: int) -> None:
        """The consumer may get more."""
        queue = self.queues.get(queue_id)
        holder = queue.holders.get((node, consumer)) if queue is not None else None
        if queue is not None and holder is not None:
            holder.credit += messages
            holder.bytes_credit += size
            queue.wake(holder)
            self._restless[queue_id] = queue

    def request(self, node: int, request: int, op: RequestOp, queue_id: QueueId, args: Sequence[int]) -> None:
        """See `RequestOp`. The reply comes by `take_out`, maybe later."""
        if self.attaching or self._is_leaving():
            self._deferred.append((node, request, op, queue_id, args))
            return
        queue = self._registry.queue_asked(queue_id)
        if args or op is not RequestOp.INFO:
            queue.used_ms = self._keeper.now_ms
        if self._desk.answer(queue, node, request, op, args):
            self._restless[queue_id] = queue

    def drop(self, queue_id: QueueId) -> None:
        """The catalog has the queue no more: its consumers are told, its contents, if it has any, go through the log.

        What comes for it later, or is on its way, goes too.
        """
        self._registry.drop(queue_id)

    def all_attached(self) -> None:
        """Nobody else is waited for: deliveries begin."""
        self.attaching = False
        self._registry.all_attached()
        for queue in self.queues.values():
            if queue.special:
                self._keeper.settings_changed(queue)
            if queue.settings.delivery_limit is not None:
                self._proposals.return_lost(queue.id, queue.take_suspects())
        self._restless.update(self.queues)
        self._answer_deferred()

    def _answer_deferred(self) -> None:
        deferred, self._deferred = self._deferred, []
        for request in deferred:
            self.request(*request)

    # ---- deliveries

    def take_out(self) -> dict[int, ToHome]:
        """Hand out what can be delivered, and give what is to be told: home node -> words."""
        if self._restless and not self.attaching:
            restless, self._restless = self._restless, {}
            now_ms = self._keeper.now_ms
            for queue in restless.values():
                queue.stirred_ms = now_ms
                if queue.settings is PLAIN and not queue.state.marks:
                    is_done = self._dispatcher.dispatch(queue)
                elif queue.settings is UNKNOWN:
                    is_done = True  # until `settings_changed` says how to go on
                else:
                    is_done = not self._keeper.before(queue) or self._dispatcher.dispatch(queue)
                    self._keeper.after(queue)
                if not is_done:
                    self._restless[queue.id] = queue
                if (not queue.turn) is queue.is_able:
                    queue.turned(now_ms)
        return self._out.take()

    @property
    def has_more(self) -> bool:
        """Did nodes have no room for all that could be delivered?"""
        return bool(self._restless) and not self.attaching

    # ---- time, settings, other shards

    def tick(self, now_ms: int) -> bool:
        """Time has passed, Unix milliseconds. Is there something to do? Cheap when there is not."""
        self._keeper.now_ms = max(self._keeper.now_ms, now_ms)
        if self.attaching:
            return False
        had_deferred = bool(self._deferred)
        self._answer_deferred()
        for queue_id in self._keeper.due():
            queue = self.queues.get(queue_id)
            if queue is not None:
                queue.deadline_ms = None
                self._restless[queue_id] = queue
        return bool(had_deferred or self._restless or self._forwarder or self._arbiter)

    def settings_changed(self, queue_id: QueueId) -> None:
        """Other settings may hold for the queue now; or it is new, and none of its messages has come."""
        queue = self._registry.settings_changed(queue_id)
        if queue is not None:
            self._restless[queue_id] = queue

    def starved(self, patience_ms: int) -> list[QueueId]:
        """Queues with messages or consumers whose settings have been UNKNOWN for so long."""
        return self._registry.starved(patience_ms)

    def take_unused(self) -> list[QueueId]:
        """Queues that the catalog shall delete, because nobody used them for long (x-expires)."""
        unused, self._keeper.unused = self._keeper.unused, {}
        return list(unused)

    def take_post(self) -> list[tuple[int, int, int, Batch | None]]:
        """What to send to leaders of other shards: see `Forwarder.words`."""
        if not self._forwarder:
            return []
        for triple in self._forwarder.forsaken(self._deleted):
            self._proposals.settles += triple
        return self._forwarder.words(self._keeper.now_ms)

    def post_receipt(self, target: int, incarnation: int, last: int) -> None:
        """Another shard's leader says how much of this shard's post is committed there."""
        settle = self._forwarder.receipt(target, incarnation, last)
        if settle is not None:
            self._proposals.settles += settle

    def receive_post(self, session: int, batch: Batch | None) -> None:
        """Another shard's post, or its question how far it has come here. The receipt goes to the session."""
        if batch is not None:
            self.receive_batch(batch)
        else:
            self._out.to(session).receipt = self._state.sessions.get(session, (0, 0))

    def take_words(self) -> Words:
        """What to say to leaders of other shards about transactions."""
        return self._arbiter.words(self._keeper.now_ms) if self._arbiter else []

    def hear(self, shard: int, word: Word, tx: TxId) -> None:
        """The leader of another shard says something of a transaction."""
        self._arbiter.hear(shard, word, tx)

    # ---- small things

    def _forgotten(self, queue_id: QueueId) -> None:
        self._restless.pop(queue_id, None)

    def _receipt(self, node: int) -> None:
        session = self._state.sessions.get(node)
        if session is not None:
            words = self._out.to(node)
            words.receipt = session
            words.refused = self._state.refusals.get(node, ())
