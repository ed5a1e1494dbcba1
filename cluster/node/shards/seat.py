"""Where a shard is led: the leader's state of this term, and which home nodes have told what they hold.

Law: a seat without a leader drops every word. Words carry the term they are meant for; others are dropped. After
a term begins, nothing is delivered until every node that may hold something has attached, or the time for it is over.
Whatever a leader does may want a payload; if that is damaged, what the leader was about to say is not said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from cluster.broker.shard.entry import Batch, QueueId
from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from cluster.broker.shard.messages import FromHome, RequestOp, ToHome
from cluster.broker.shard.state import ShardState
from cluster.broker.shard.tx_ops import TxId, Word
from cluster.node.shards.view import CatalogView
from cluster.raft.storage import StorageCorrupt

_T = TypeVar("_T")
ATTACH_TIMEOUT_SECONDS = 1.0
"""How long a new leader waits for other nodes to tell what their channels hold."""


class SeatServices(Protocol):
    """What a seat needs from its node."""

    @property
    def node(self) -> int: ...

    def now(self) -> float:
        """Monotonic seconds."""

    def wall_ms(self) -> int:
        """Unix milliseconds, which never go back."""

    def reachable(self) -> set[int]:
        """Nodes whose link is up, and this one."""

    def expected(self) -> set[int]:
        """The reachable nodes, and those that this one, just started, has had no time to link to."""

    def queue_deleted(self, queue: QueueId) -> bool:
        """Has the catalog deleted it? (False for one that this copy does not know yet.)"""

    @property
    def view(self) -> CatalogView:
        """What leaders know of the catalog."""

    def is_full(self, node: int) -> bool:
        """Does so much wait for the node that large things should wait here?"""

    def announce(self, seat: Seat, nodes: Iterable[int]) -> None:
        """Tell these nodes that the seat leads its shard."""

    def disturbed(self, seat: Seat) -> None:
        """The seat has something to propose or to say."""


class Seat:
    """One shard on this node. `shard` is its number, `state` the replica's state."""

    def __init__(self, shard: int, services: SeatServices, limits: LeaderLimits) -> None:
        self.shard = shard
        self.state = ShardState()
        self.leader: ShardLeader | None = None
        self.term = 0
        self.incarnation = 1
        """Rises when the shard forgets its contents, which only a local one does."""
        self.is_headless = False
        """Consensus here knows of nobody who leads the shard. A link that is silent is not closed as early."""
        self.posted_by: dict[int, int] = {}
        """Session of another shard -> the node that its leader's latest word came from."""
        self._services = services
        self._limits = limits
        self._awaited: set[int] = set()
        self._attach_deadline = 0.0

    def load(self, index: int) -> bytes:
        """The data of a live entry."""
        raise NotImplementedError

    def is_leaving(self) -> bool:
        """Is the lead being given to another, who may have it by now?"""
        return False

    def begin(self, term: int) -> None:
        """Lead, from the state as it is now."""
        leader = ShardLeader(
            self.state,
            self.load,
            self._limits,
            self._services.queue_deleted,
            self._services.view,
            shard=self.shard,
            incarnation=self.incarnation,
            now_ms=self._services.wall_ms(),
            is_full=self._services.is_full,
            is_leaving=self.is_leaving,
        )
        self.leader, self.term = leader, term
        self.settings_changed(self._services.view.queues_of(self.shard))
        self._awaited = self.holders()
        self._attach_deadline = self._services.now() + ATTACH_TIMEOUT_SECONDS
        self._services.announce(self, sorted(self._awaited))
        self._services.disturbed(self)

    def holders(self) -> set[int]:
        """Nodes whose channels may hold messages of this shard."""
        return self._services.expected()

    def end(self) -> None:
        """The role is lost."""
        self.leader = None

    def from_home(self, node: int, term: int, words: FromHome) -> None:
        """What a home node wants. Raises EntryCorrupt for malformed words (before anything is done)."""
        leader = self.leader
        if leader is None or term != self.term:
            return
        try:
            if words.attach is not None:
                leader.attach(node, words.attach)
                self._attended(leader, node)
            for batch in words.batches:
                if batch.node == node:
                    leader.receive_batch(batch)
            for queue, consumer, messages, size in words.credits:
                leader.credit(node, QueueId(queue), consumer, messages, size)
            for request, op, queue, args in words.requests:
                leader.request(node, request, RequestOp(op), QueueId(queue), args)
        except StorageCorrupt as error:
            self.damaged(error)
        self._services.disturbed(self)

    def link_up(self, node: int) -> None:
        if self.leader is not None:
            self._services.announce(self, [node])

    def link_down(self, node: int) -> None:
        leader = self.leader
        if leader is not None:
            leader.node_lost(node)
            self._guarded(lambda: self._attended(leader, node), None)
            self._services.disturbed(self)

    def check_deadline(self) -> None:
        """To be called now and then: whoever has not attached in time is not waited for."""
        leader = self.leader
        if leader is not None and leader.attaching and self._services.now() >= self._attach_deadline:
            self._guarded(leader.all_attached, None)
            self._services.disturbed(self)

    def queue_dropped(self, queue: QueueId) -> None:
        """The catalog has deleted a queue."""
        if self.leader is not None:
            self.leader.drop(queue)
            self._services.disturbed(self)

    def settings_changed(self, queues: Iterable[QueueId]) -> None:
        """The catalog says something else, or something at all, of these queues of the shard."""
        leader = self.leader
        if leader is not None:
            for queue in queues:
                self._guarded(lambda queue=queue: leader.settings_changed(queue), None)  # type: ignore[misc]
            self._services.disturbed(self)

    def tick(self, now_ms: int) -> None:
        """Time passes. To be called every few hundredths of a second, with Unix milliseconds."""
        leader = self.leader
        if leader is not None and self._guarded(lambda: leader.tick(now_ms), False):
            self._services.disturbed(self)

    def post_arrived(self, node: int, term: int, session: int, batch: Batch | None) -> None:
        """Another shard's leader, on `node`, sends dead letters, or asks how far they have come."""
        if self.leader is not None and term == self.term:
            self.posted_by[session] = node
            self.leader.receive_post(session, batch)
            self._services.disturbed(self)

    def post_receipt(self, target: int, incarnation: int, last: int) -> None:
        """Another shard's leader says what of this shard's dead letters is committed there."""
        if self.leader is not None:
            self.leader.post_receipt(target, incarnation, last)
            self._services.disturbed(self)

    def hear(self, shard: int, word: Word, tx: TxId) -> None:
        """Another shard's leader says something of a transaction."""
        if self.leader is not None:
            self.leader.hear(shard, word, tx)
            self._services.disturbed(self)

    def take_out(self) -> dict[int, ToHome]:
        return self._guarded(self.leader.take_out, {}) if self.leader is not None else {}

    def figures(self, queue: QueueId, patience: int) -> list[int] | None:
        """See `Figures.of`; None of a queue that is not led here, or that nothing was done to."""
        leader = self.leader
        held = leader.queues.get(queue) if leader is not None else None
        if leader is None or held is None:
            return None
        return self._guarded(lambda: leader.figures.of(held, patience), held.counts())

    def take_post(self) -> Sequence[tuple[int, int, int, Batch | None]]:
        """See `ShardLeader.take_post`."""
        return self._guarded(self.leader.take_post, []) if self.leader is not None else ()

    def damaged(self, error: StorageCorrupt) -> None:
        """What the log has of the shard cannot be believed."""
        raise error

    def _guarded(self, act: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return act()
        except StorageCorrupt as error:
            self.damaged(error)
            return otherwise

    def _attended(self, leader: ShardLeader, node: int) -> None:
        self._awaited.discard(node)
        if leader.attaching and not self._awaited:
            leader.all_attached()
