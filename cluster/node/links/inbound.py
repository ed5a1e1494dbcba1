"""Inbound: the connections that others dial, accepted, greeted, and read while their links are up.

Law: a stranger takes one of `handshakes_pending_max` places until it is greeted or gone. A link that is at work is not
given up for one that mistook this node for another: it has time to hang up. What was read is given on at once, in its
order, and only while the link is up.
"""

from __future__ import annotations

import socket

import trio

from cluster.node.links import sockets
from cluster.node.links.calls import Calls
from cluster.node.links.carrier import STOPPING, Carrier
from cluster.node.links.complaints import Complaints
from cluster.node.links.frames import PING
from cluster.node.links.greeting import STRANGER_ERRORS, Host, describe_error, receive_stranger
from cluster.node.links.handshake import Identity, Refusal, Refused
from cluster.node.links.interface import KIND_MAX, LinkHandler, ProtocolViolation
from cluster.node.links.peer import Incoming, Peer, PeerState
from cluster.node.tls import Socket
from cluster.raft.types import NodeId

_MISTAKE_SECONDS = 0.5
"""Within which a dialer that finds somebody else than it wanted has hung up."""


async def _cancel_when_gone(peer: Peer, incoming: Incoming, scope: trio.CancelScope) -> None:
    while peer.incoming is incoming:
        await peer.changed.wait()
    scope.cancel()


class Inbound:
    """What all links of a node share on the way in. `host` is who strangers find here; `peers` stays the caller's."""

    def __init__(
        self,
        host: Host,
        handler: LinkHandler,
        peers: dict[NodeId, Peer],
        complaints: Complaints,
        carrier: Carrier,
        calls: Calls,
    ) -> None:
        self.host = host
        self._handler = handler
        self._peers = peers
        self._complaints = complaints
        self._carrier = carrier
        self._calls = calls
        self.handshakes_pending = 0

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Until cancelled. What is accepted is served in the nursery."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, remote = listener.accept()
            except (BlockingIOError, ConnectionError):
                continue
            except OSError as error:
                self._complaints.say("listener", "accept", f"cannot accept a link: {describe_error(error)}")
                await trio.sleep(0.1)
                continue
            if self.handshakes_pending >= self.host.limits.handshakes_pending_max:
                sock.close()
                self._complaints.say(str(remote[0]), "pending", "too many unfinished handshakes")
                continue
            self.handshakes_pending += 1
            nursery.start_soon(self._receive_stranger, sock, str(remote[0]), nursery)

    async def _receive_stranger(self, sock: socket.socket, remote: str, nursery: trio.Nursery) -> None:
        try:
            greeted = await self._greet(sock, remote)
            if greeted is not None:
                link, dialer, begun = greeted
                await self._read(self._peers[dialer.node], Incoming(link, dialer, self.host.limits), begun, nursery)
        finally:
            sockets.close(sock)

    async def _greet(self, sock: socket.socket, remote: str) -> tuple[Socket, Identity, bytes] | None:
        """The connection, who dialled, and what was read of it already; None for one that is not to be read."""
        try:
            greeted = await receive_stranger(sock, self.host)
            begun = None if greeted is None else await self._meant(*greeted)
            if greeted is None or begun is None:
                return None
            self.host.admit(greeted[1])
            return *greeted, begun
        except Refused as refused:
            if refused.code is Refusal.UNFOUNDED:
                return None
            is_known = any(refused.claimed == peer.address.name for peer in self._peers.values())
            who = refused.claimed if is_known else remote
            text = f"link from {remote} refused: {refused.text} with {who}"
            self._complaints.say(who, refused.code.value, text)
        except STRANGER_ERRORS as error:
            self._complaints.say(remote, "stranger", f"link from {remote} failed: {describe_error(error)}")
        finally:
            self.handshakes_pending -= 1
        return None

    async def _meant(self, link: Socket, dialer: Identity) -> bytes | None:
        """None if the dialer wanted another node than this one: it hangs up at once. Else what it has sent so far.

        A link that is at work is not given up for a connection that had no time to go.
        """
        peer = self._peers.get(dialer.node)
        if peer is None or peer.incoming is None or peer.incoming.identity.incarnation != dialer.incarnation:
            return b""
        if trio.current_time() - peer.incoming.received_at >= 2 * self.host.limits.ping_interval_seconds:
            return b""
        begun: bytes | None = b""
        with trio.move_on_after(_MISTAKE_SECONDS) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_gone, peer, peer.incoming, patience)
                try:
                    begun = await sockets.receive(link) or None
                except sockets.Disconnected:
                    begun = None
                patience.cancel()
        return begun

    async def _read(self, peer: Peer, incoming: Incoming, begun: bytes, nursery: trio.Nursery) -> None:
        if peer.incoming is not None:
            self._carrier.part(peer, "replaced by a new connection")
        peer.incoming = incoming
        peer.redial.set()
        # Maybe to where the peer was before, and where nobody answers: it can be reached now.
        peer.connecting.cancel()
        reason = ""
        try:
            self._carrier.meet(peer)
            while peer.incoming is incoming and peer.state is PeerState.APART:
                await peer.changed.wait()
            if peer.incoming is not incoming:
                return
            if begun:
                self._dispatch(peer, incoming, begun, nursery)
            while data := await sockets.receive(incoming.sock):
                incoming.received_at = trio.current_time()
                peer.bytes_received += len(data)
                self._dispatch(peer, incoming, data, nursery)
            reason = "closed by the peer"
        except ProtocolViolation as error:
            reason = f"protocol violation: {error}"
        except sockets.Disconnected as error:
            reason = str(error)
        finally:
            if peer.incoming is incoming:
                self._carrier.part(peer, reason or peer.failure or STOPPING)

    def _dispatch(self, peer: Peer, incoming: Incoming, data: bytes, nursery: trio.Nursery) -> None:
        node, handler = peer.address.node, self._handler
        messages = incoming.reader.feed(data)
        peer.messages_received += len(messages)
        for kind, body in messages:
            if kind <= KIND_MAX:
                handler.message(node, kind, body)
            elif kind != PING:
                self._calls.receive(peer, incoming, kind, body, nursery)
