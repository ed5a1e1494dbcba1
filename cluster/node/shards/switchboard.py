"""Carries words between the streams of this node and the shards' leaders, here or on other nodes.

Law: nothing is sent from inside an event; events mark streams and seats, and `pump` (run once per round of the
scheduler) carries what has gathered. Between one leader and one home node the order is kept: directly when both
are here, over one link otherwise. A word that a link refuses is not lost: the link closes and both sides attach
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from cluster.broker.shard.columns import EntryCorrupt
from cluster.broker.shard.entry import SHARD_SESSIONS, Batch, QueueId
from cluster.broker.shard.local_stream import LocalStream
from cluster.broker.shard.messages import FromHome, ToHome
from cluster.broker.shard.stream import ShardStream, StreamLimits
from cluster.broker.shard.tx_ops import TxId, Word
from cluster.node.kinds import Kind
from cluster.node.links.interface import ProtocolViolation
from cluster.node.shards.host import ShardHost
from cluster.node.shards.local import LOCAL_SHARDS, LocalShard
from cluster.node.shards.seat import Seat
from cluster.raft.types import GroupId, NodeId

_PASSES_MAX = 8
"""Rounds of question and answer between a stream and a leader of this node within one `pump`."""


REFUSE_AFTER_SECONDS = 5.0
"""How long publishes wait for a shard's leader before they are refused (basic.nack)."""


class Sender(Protocol):
    """The links."""

    def send(self, peer: NodeId, kind: int, body: Any) -> bool: ...

    def is_full(self, peer: NodeId) -> bool:
        """Does so much wait for the peer already that large things should wait here?"""


class Switchboard:
    """All streams and seats of a node."""

    def __init__(
        self,
        *,
        node: int,
        incarnation: int,
        sender: Sender,
        wake: Callable[[], None],
        propose: Callable[[GroupId], None],
        queue_unused: Callable[[QueueId], None],
        limits: StreamLimits,
    ) -> None:
        """`wake` asks for a `pump` soon; `propose` marks a group as having something to propose.

        `limits` hold for streams to replicated shards; queues in memory have no log that settles should be spared.
        """
        self.seats: dict[int, Seat] = {}
        self.streams: dict[int, ShardStream] = {}
        self._node = node
        self._incarnation = incarnation
        self._sender = sender
        self._wake = wake
        self._propose = propose
        self._queue_unused = queue_unused
        self._limits = limits
        self._holding: dict[ShardStream, None] = {}
        """Streams whose settles may wait for something to go with."""
        self._crowded: dict[ShardStream, None] = {}
        """Streams with batches for which the link to their leader has no room."""
        self._late: dict[Seat, None] = {}
        """Seats with messages for which the links to consumers have no room."""
        self._disturbed: dict[Seat, None] = {}
        self._busy: dict[ShardStream, None] = {}
        self._leaderless: dict[int, float] = {}
        """Shard -> since when no leader is known."""

    def stream(self, shard: int) -> ShardStream:
        """This node's stream to a shard."""
        stream = self.streams.get(shard)
        if stream is None:
            kind, limits = ShardStream, self._limits
            if shard >= LOCAL_SHARDS:
                kind, limits = LocalStream, replace(limits, settles_held_max=0)
            stream = kind(shard=shard, node=self._node, incarnation=self._incarnation, limits=limits)
            self.streams[shard] = stream
        return stream

    def stirred(self, stream: ShardStream) -> None:
        """A stream has something to say."""
        self._busy[stream] = None
        self._wake()

    def disturbed(self, seat: Seat) -> None:
        """A seat has something to propose or to say."""
        self._disturbed[seat] = None
        self._wake()

    @property
    def wants_pump(self) -> bool:
        """Has anything gathered?"""
        return bool(self._busy or self._disturbed)

    def pump(self) -> None:
        """Carry everything that has gathered."""
        for _ in range(_PASSES_MAX):
            if not self._busy and not self._disturbed:
                return
            busy, self._busy = self._busy, {}
            for stream in busy:
                has_room = self._has_room(stream)
                words = stream.take_out(has_room=has_room)
                if words is not None:
                    self._to_leader(stream, words)
                if not has_room:
                    self._crowded[stream] = None
                if stream.holds_settles:
                    self._holding[stream] = None
            disturbed, self._disturbed = self._disturbed, {}
            for seat in disturbed:
                self._settle_seat(seat)
        self._wake()

    def _has_room(self, stream: ShardStream) -> bool:
        """May batches go to the leader now? What it was given is never refused: so not over a link that may be dead,
        while this node hears of no leader."""
        if stream.leader in (0, self._node):
            return True
        seat = self.seats.get(stream.shard)
        if seat is not None and seat.is_headless:
            return False
        return not self._sender.is_full(NodeId(stream.leader))

    def hasten_settles(self) -> None:
        """What channels have settled waits for no publish any longer."""
        holding, self._holding = self._holding, {}
        for stream in holding:
            stream.hasten()
            self.stirred(stream)

    def try_again(self) -> None:
        """To be called every few hundredths of a second: there may be room on links now."""
        crowded, self._crowded = self._crowded, {}
        for stream in crowded:
            self.stirred(stream)
        late, self._late = self._late, {}
        for seat in late:
            self.disturbed(seat)

    def _settle_seat(self, seat: Seat) -> None:
        leader = seat.leader
        if leader is None:
            return
        if leader.wants_entry:
            if isinstance(seat, LocalShard):
                seat.apply_waiting()
            else:
                self._propose(GroupId(seat.shard))
        told = seat.take_out()
        if leader.has_more:
            (self._disturbed if told else self._late)[seat] = None
        for node, words in told.items():
            if node >= SHARD_SESSIONS:
                self._post_receipt(seat, node, words)
            elif node == self._node:
                self._at_home(seat.shard, seat.term, words)
            else:
                self._sender.send(NodeId(node), Kind.SHARD_TO_HOME, words.to_wire(seat.shard, seat.term))
        for target, session, incarnation, batch in seat.take_post():
            self._post(seat, target, session, incarnation, batch)
        for target, word, tx in leader.take_words():
            self._word(target, [target, seat.shard, int(word), *tx])
        for queue in leader.take_unused():
            self._queue_unused(queue)
        if leader.wants_entry:
            if isinstance(seat, LocalShard):
                self._disturbed[seat] = None
            else:
                self._propose(GroupId(seat.shard))

    def _post(self, seat: Seat, target: int, session: int, incarnation: int, batch: Batch | None) -> None:
        """To the leader of another shard. If none is known, it will be sent again."""
        stream = self.stream(target)
        if stream.leader == self._node:
            there = self.seats.get(target)
            if there is not None:
                there.post_arrived(self._node, stream.term, session, batch)
        elif stream.leader:
            wire = batch.to_wire() if batch is not None else None
            body = [target, stream.term, session, wire]
            self._sender.send(NodeId(stream.leader), Kind.SHARD_POST, body)

    def _word(self, target: int, body: list[int]) -> None:
        """About a transaction, to the leader of another shard. If none is known, it will be said again."""
        leader = self.stream(target).leader
        if leader == self._node:
            self.transaction_word(body)
        elif leader:
            self._sender.send(NodeId(leader), Kind.SHARD_TRANSACTION, body)

    def _post_receipt(self, seat: Seat, session: int, words: ToHome) -> None:
        node = seat.posted_by.get(session)
        if words.receipt is None or node is None:
            return
        body = [session - SHARD_SESSIONS, seat.shard, *words.receipt]
        if node == self._node:
            self.post_receipt_arrived(body)
        else:
            self._sender.send(NodeId(node), Kind.SHARD_POST_RECEIPT, body)

    def _to_leader(self, stream: ShardStream, words: FromHome) -> None:
        if stream.leader == self._node:
            seat = self.seats.get(stream.shard)
            if seat is not None:
                seat.from_home(self._node, stream.term, words)
        else:
            self._sender.send(NodeId(stream.leader), Kind.SHARD_FROM_HOME, words.to_wire(stream.shard, stream.term))

    def _at_home(self, shard: int, term: int, words: ToHome) -> None:
        stream = self.streams.get(shard)
        if stream is not None and stream.term == term:
            stream.receive(words)
            self._busy[stream] = None

    # ---- what comes over links

    def queue_deleted(self, shard: int, queue: QueueId) -> None:
        """The catalog has deleted a queue. Its leader tells the rest; where none can, the streams are told here."""
        seat = self.seats.get(shard)
        if seat is not None:
            seat.queue_dropped(queue)
        stream = self.streams.get(shard)
        if isinstance(stream, LocalStream) and not stream.leader:
            stream.queue_gone(queue)
            self._wake()

    def announce(self, seat: Seat, nodes: Iterable[int]) -> None:
        """A seat of this node leads."""
        for node in nodes:
            if node == self._node:
                self._leader_is(self._node, seat.shard, seat.term)
            else:
                self._sender.send(NodeId(node), Kind.SHARD_LEADER, [[seat.shard, seat.term]])

    def leaders_announced(self, peer: int, body: Any) -> None:
        """SHARD_LEADER."""
        for shard, term in body:
            self._leader_is(peer, shard, term)

    def from_home(self, peer: int, body: Any) -> None:
        """SHARD_FROM_HOME. Raises ProtocolViolation for what no node sends."""
        try:
            seat = self.seats.get(body[0])
            if seat is not None:
                seat.from_home(peer, body[1], FromHome.from_wire(body))
        except (EntryCorrupt, ValueError, TypeError, IndexError) as error:
            raise ProtocolViolation(f"malformed words for a shard: {error}") from error

    def to_home(self, body: Any) -> None:
        """SHARD_TO_HOME."""
        self._at_home(body[0], body[1], ToHome.from_wire(body))
        self._wake()

    def post_arrived(self, peer: int, body: Any) -> None:
        """SHARD_POST. Raises ProtocolViolation for what no node sends."""
        try:
            target, term, session, wire = body
            batch = Batch.from_wire(wire) if wire is not None else None
            if session < SHARD_SESSIONS or (batch is not None and batch.node != session):
                raise EntryCorrupt("post of somebody else")
        except (EntryCorrupt, ValueError, TypeError) as error:
            raise ProtocolViolation(f"malformed post between shards: {error}") from error
        seat = self.seats.get(target)
        if seat is not None:
            seat.post_arrived(peer, term, session, batch)

    def post_receipt_arrived(self, body: Any) -> None:
        """SHARD_POST_RECEIPT."""
        source, target, incarnation, last = body
        seat = self.seats.get(source)
        if seat is not None:
            seat.post_receipt(target, incarnation, last)

    def transaction_word(self, body: Any) -> None:
        """SHARD_TRANSACTION. Raises ProtocolViolation for what no node sends."""
        try:
            target, source, number, *tx = body
            word = Word(number)
            if len(tx) != 3 or not all(type(n) is int and n >= 0 for n in (source, *tx)):
                raise ValueError("three numbers name a transaction")
        except (ValueError, TypeError) as error:
            raise ProtocolViolation(f"malformed word about a transaction: {error}") from error
        seat = self.seats.get(target)
        if seat is not None:
            seat.hear(source, word, TxId(*tx))

    def tick(self, now_ms: int) -> None:
        """Time passes: see `Seat.tick`."""
        for seat in self.seats.values():
            seat.tick(now_ms)

    def link_up(self, peer: int) -> None:
        for seat in self.seats.values():
            seat.link_up(peer)

    def link_down(self, peer: int) -> None:
        for stream in self.streams.values():
            stream.leader_lost(peer)
        for seat in self.seats.values():
            seat.link_down(peer)

    def check_deadlines(self, now: float) -> None:
        """To be called now and then, with monotonic seconds."""
        for seat in self.seats.values():
            seat.check_deadline()
        for stream in self.streams.values():
            if self._is_led(stream):
                self._leaderless.pop(stream.shard, None)
            elif now - self._leaderless.setdefault(stream.shard, now) >= REFUSE_AFTER_SECONDS and stream.unsent:
                stream.refuse_unsent()
                self._wake()

    def _is_led(self, stream: ShardStream) -> bool:
        """A leader is known and not given up here, and if it is to be this node, it is."""
        seat = self.seats.get(stream.shard)
        if stream.leader != self._node:
            return stream.leader != 0 and not (seat is not None and seat.is_headless)
        return seat is not None and seat.leader is not None

    def hosts(self) -> list[ShardHost]:
        """The replicas among the seats."""
        return [seat for seat in self.seats.values() if isinstance(seat, ShardHost)]

    def _leader_is(self, node: int, shard: int, term: int) -> None:
        stream = self.stream(shard)
        stream.leader_is(node, term)
        self.stirred(stream)
