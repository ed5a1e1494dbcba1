"""The carrier: moves frames over attached connections, and decides when a link is up.

Law: `queue` never writes, and neither it nor `write` calls a handler; closing a link that has failed happens in the
turn of `run`, or of whoever leads it, and so does writing, unless somebody asks for it before, so that all that was
queued in a scheduler round leaves together. `link_up` and `link_down` of a peer alternate, and `part` is the only place
where a link that is up is closed.
"""

from __future__ import annotations

import trio

from cluster.node.links import sockets
from cluster.node.links.complaints import Complaints
from cluster.node.links.frames import PING, Packer, encode_message
from cluster.node.links.interface import Body, LinkDown, LinkHandler, LinkLimits
from cluster.node.links.outbox import Flushed
from cluster.node.links.peer import Outgoing, Peer, PeerState
from cluster.node.logging import get_logger
from cluster.raft.runtime.beat import next_beat
from cluster.raft.runtime.wakeup import Wakeup
from cluster.raft.types import NodeId

STOPPING = "this node is stopping"
"""Why a link goes down that nothing else has ended."""
_LATE_TICKS = 2.0
"""A tick so many intervals late means that this node itself stood still: it judges nobody's silence then."""


class Carrier:
    """What all links of a node share on the way out."""

    def __init__(self, handler: LinkHandler, limits: LinkLimits, complaints: Complaints) -> None:
        self._handler = handler
        self._limits = limits
        self._complaints = complaints
        self._packer = Packer()
        self._unflushed: dict[Peer, None] = {}
        self._failing: list[Peer] = []
        self._wakeup = Wakeup()
        self._log = get_logger("links")

    async def run(self) -> None:
        """Write what was queued, once a scheduler round. Until cancelled."""
        while True:
            await self._wakeup.wait()
            self._flush()

    def led_by(self, leader: Wakeup | None) -> None:
        """From now on the waiter of `leader` writes, with `turn`; None: `run` again."""
        self._wakeup.led_by(leader)

    @property
    def wants_turn(self) -> bool:
        """Was anything queued, or has a link failed?"""
        return self._wakeup.is_wanted

    def turn(self) -> None:
        """Write what was queued, if anything was."""
        if self._wakeup.take():
            self._flush()

    def queue(self, peer: Peer, kind: int, body: Body, *, control: bool, droppable: bool) -> bool:
        """Put one message into the outbox of a peer that is up. Contract of `Links.send`."""
        assert peer.outgoing is not None
        if droppable and not control and peer.outgoing.outbox.is_bulk_full:
            # What will be dropped is not worth packing.
            peer.messages_dropped += 1
            return False
        pieces = self._packer.pack(body)
        size = sum(map(len, pieces))
        if size > self._limits.message_bytes_max:
            raise ValueError(f"message of {size} bytes, allowed are {self._limits.message_bytes_max}")
        frame_bytes_max = self._limits.frame_bytes_max
        frames = encode_message(kind, pieces, frame_bytes_max)
        if not peer.outgoing.outbox.put(frames, control=control and size <= frame_bytes_max):
            peer.messages_dropped += 1
            if not droppable:
                self.fail(peer, "outbox is full")
            return False
        peer.messages_sent += 1
        self._unflushed[peer] = None
        self._wakeup.wake()
        return True

    def fail(self, peer: Peer, reason: str) -> None:
        """Part from the peer in the next turn; until then nothing more is sent."""
        if peer.state is not PeerState.FAILING:
            peer.failure = reason
            if peer.state is PeerState.UP:
                peer.state = PeerState.FAILING
            self._failing.append(peer)
            self._wakeup.wake()

    def part_from_failing(self) -> None:
        failing, self._failing = self._failing, []
        for peer in failing:
            self.part(peer, peer.failure)

    def _flush(self) -> None:
        self.part_from_failing()
        self.write()

    def write(self) -> None:
        """Write what was queued. A link that turns out to be broken fails."""
        unflushed, self._unflushed = self._unflushed, {}
        for peer in unflushed:
            outgoing = peer.outgoing
            if outgoing is not None and not outgoing.writer_wanted.is_set():
                self._write(peer, outgoing)

    def _write(self, peer: Peer, outgoing: Outgoing) -> None:
        try:
            flushed, written = outgoing.outbox.flush(outgoing.sock)
        except OSError as error:
            if peer.outgoing is outgoing:
                self.fail(peer, f"write failed: {error.strerror or error}")
            return
        peer.bytes_sent += written
        if flushed is Flushed.BLOCKED:
            outgoing.writer_wanted.set()
        elif flushed is Flushed.TURN_OVER:
            self._unflushed[peer] = None
            self._wakeup.wake()

    async def write_when_writable(self, peer: Peer, outgoing: Outgoing) -> None:
        """The writer task of one connection. Until cancelled; raises Disconnected."""
        while True:
            await outgoing.writer_wanted.wait()
            await sockets.until_writable(outgoing.sock)
            outgoing.writer_wanted = trio.Event()
            self._write(peer, outgoing)

    def meet(self, peer: Peer) -> None:
        """A connection was attached: the link is up if it is the second one of this incarnation.

        One that the peer has hung up, and whose task has not seen that yet, is not paired with a new one: it would take
        that down with it, on the other side the same would follow, and so on for ever.
        """
        incoming, outgoing = peer.incoming, peer.outgoing
        if incoming is None or outgoing is None or peer.state is not PeerState.APART:
            return
        is_deaf, is_mute = sockets.is_closed_by_peer(outgoing.sock), sockets.is_closed_by_peer(incoming.sock)
        if is_deaf:
            peer.outgoing = None
            sockets.close(outgoing.sock)
        if is_mute:
            peer.incoming = None
            sockets.close(incoming.sock)
        if is_deaf or is_mute:
            peer.announce_change()
            return
        if outgoing.identity.incarnation < incoming.identity.incarnation:
            peer.outgoing = None
            sockets.close(outgoing.sock)
            return
        if outgoing.identity.incarnation > incoming.identity.incarnation:
            peer.incoming = None
            sockets.close(incoming.sock)
            return
        incoming.received_at = trio.current_time()
        peer.state = PeerState.UP
        peer.times_up += 1
        peer.failure = ""
        peer.announce_change()
        self._complaints.forget(peer.address.name)
        self._log.info("link up", peer=peer.address.name, incarnation=incoming.identity.incarnation)
        self._handler.link_up(peer.address.node, incoming.identity.incarnation)

    def part(self, peer: Peer, reason: str) -> None:
        """Close both directions; the layers above hear of it if the link was up."""
        incoming, outgoing, was_up = peer.incoming, peer.outgoing, peer.state is not PeerState.APART
        peer.incoming = peer.outgoing = None
        peer.state = PeerState.APART
        if incoming is not None:
            sockets.close(incoming.sock)
        if outgoing is not None:
            sockets.close(outgoing.sock)
        peer.announce_change()
        if not was_up:
            return
        calls, peer.calls = peer.calls, {}
        for call in calls.values():
            call.finish(LinkDown(f"link to {peer.address.name} closed: {reason}"))
        self._log.info("link down", peer=peer.address.name, reason=reason)
        self._handler.link_down(peer.address.node, reason)

    async def watch(self, peers: dict[NodeId, Peer]) -> None:
        """Ping every peer, and part from those that have been silent too long. Until cancelled."""
        interval = self._limits.ping_interval_seconds
        ticked_at = trio.current_time()
        while True:
            await next_beat(interval)
            now = trio.current_time()
            is_late = now - ticked_at > _LATE_TICKS * interval
            ticked_at = now
            for peer in list(peers.values()):
                if peer.state is not PeerState.UP or peer.incoming is None:
                    continue
                self.queue(peer, PING, None, control=True, droppable=True)
                silence = now - peer.incoming.received_at
                if silence > self._limits.link_timeout_seconds and not is_late:
                    self.part(peer, f"silent for {silence:.1f} s")
