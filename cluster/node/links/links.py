"""The links of a node: one per member of its cluster.

Law: everything here runs on the Trio thread. Sending is synchronous and never blocks; what is sent within one
scheduler round leaves in one write. All messages of a peer lie between its `link_up` and its `link_down`. No
handler is called from within a call of this class.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

import trio

from cluster.node.links import sockets
from cluster.node.links.calls import Calls
from cluster.node.links.carrier import STOPPING, Carrier
from cluster.node.links.complaints import Complaints
from cluster.node.links.greeting import STRANGER_ERRORS, Host, describe_error, dial
from cluster.node.links.handshake import Identity, Refusal, Refused
from cluster.node.links.inbound import Inbound
from cluster.node.links.interface import (
    KIND_MAX,
    Body,
    LinkDown,
    LinkHandler,
    LinkLimits,
    LinksStatistics,
    PeerAddress,
)
from cluster.node.links.peer import Outgoing, Peer, PeerState
from cluster.node.tls import Certificates
from cluster.raft.runtime.wakeup import Wakeup
from cluster.raft.types import NOBODY, NodeId


def _nobody_has(node: NodeId) -> bool:
    return False


class Links:
    """Links to the peers given, and to those added later.

    `cluster_id` "" and `node` NOBODY: not a member yet; probes are answered, links neither dialled nor
    accepted until `adopt_identity`. `incarnation` must be larger than at any earlier start of this node. With
    `certificates`, links and probes speak TLS, in both directions.
    """

    def __init__(
        self,
        *,
        cluster_id: str,
        node: NodeId,
        name: str,
        incarnation: int,
        secret: bytes,
        peers: Sequence[PeerAddress],
        handler: LinkHandler,
        limits: LinkLimits | None = None,
        certificates: Certificates | None = None,
        both_ways: Certificates | None = None,
    ) -> None:
        """`both_ways`: who dials may speak TLS by these or not, whatever this node does when it dials."""
        self._certificates = certificates
        self._identity = Identity(cluster_id=cluster_id, node=node, name=name, incarnation=incarnation)
        self._secret = secret
        self._handler = handler
        self._limits = limits or LinkLimits()
        self._peers: dict[NodeId, Peer] = {}
        self._complaints = Complaints(self._limits.complaint_interval_seconds)
        self._carrier = Carrier(handler, self._limits, self._complaints)
        self._calls = Calls(handler, self._limits, self._carrier)
        host = Host(
            identity=self._identity,
            secret=secret,
            limits=self._limits,
            admit=self._admit,
            describe=handler.describe,
            petition=handler.petition,
            certificates=both_ways or certificates,
            is_plain_accepted=both_ways is not None,
        )
        self._inbound = Inbound(host, handler, self._peers, self._complaints, self._carrier, self._calls)
        self._nursery: trio.Nursery | None = None
        self._random = random.Random()
        self.has_left: Callable[[NodeId], bool] = _nobody_has
        """Was this node a member, and is none any more?"""
        for address in peers:
            self.add_peer(address)

    async def run(
        self,
        listeners: Sequence[socket.socket],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept, dial and carry until cancelled; then every link goes down. Closes the listeners.

        Raises whatever the handler raises that is not one of the link's own errors.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._carrier.run)
                nursery.start_soon(self._carrier.watch, self._peers)
                for listener in listeners:
                    nursery.start_soon(self._inbound.accept, listener, nursery)
                for peer in self._peers.values():
                    nursery.start_soon(self._dial, peer)
                task_status.started()
        finally:
            self._nursery = None
            for listener in listeners:
                sockets.close(listener)
            self._carrier.part_from_failing()
            for peer in self._peers.values():
                self._carrier.part(peer, STOPPING)

    def led_by(self, leader: Wakeup | None) -> None:
        """From now on what is sent leaves when the waiter of `leader` calls `turn`; None: by itself again."""
        self._carrier.led_by(leader)

    @property
    def wants_turn(self) -> bool:
        """Would `turn` do anything?"""
        return self._carrier.wants_turn

    def turn(self) -> None:
        """Write what was sent, if anything was. Handlers may be called for a link that is found broken."""
        self._carrier.turn()

    def write(self) -> None:
        """Write what was sent now, in the middle of a turn; no handler is called."""
        self._carrier.write()

    def adopt_identity(self, *, cluster_id: str, node: NodeId) -> None:
        """This node has become a member. Raises ValueError when it is one of another cluster already."""
        known = self._identity
        if known.cluster_id and (known.cluster_id, known.node) != (cluster_id, node):
            raise ValueError(f"already node {known.node} of cluster {known.cluster_id}")
        self._identity = Identity(cluster_id=cluster_id, node=node, name=known.name, incarnation=known.incarnation)
        self._inbound.host = replace(self._inbound.host, identity=self._identity)
        self.remove_peer(node)
        for peer in self._peers.values():
            peer.redial.set()

    def add_peer(self, address: PeerAddress) -> None:
        """Hold a link to this member from now on. One at a new address is dialled there as soon as it is not linked."""
        known = self._peers.get(address.node)
        if address.node in (self._identity.node, NOBODY) or (known and known.address == address):
            return
        if known:
            known.address = address
            known.redial.set()
            return
        peer = self._peers[address.node] = Peer(address)
        if self._nursery is not None:
            self._nursery.start_soon(self._dial, peer)

    def remove_peer(self, node: NodeId) -> None:
        """Close the link for good. `link_down` follows, if it was up."""
        peer = self._peers.pop(node, None)
        if peer is not None:
            peer.dialling.cancel()
            self._carrier.fail(peer, "removed from the cluster")

    def _admit(self, dialer: Identity) -> None:
        peer = self._peers.get(dialer.node)
        if peer is None:
            if self.has_left(dialer.node):
                raise Refused(Refusal.LEFT, f"node {dialer.node} has left the cluster")
            raise Refused(Refusal.NODE, f"node {dialer.node} is no member")
        if peer.incoming is not None and dialer.incarnation < peer.incoming.identity.incarnation:
            raise Refused(Refusal.STALE, f"node {dialer.node} is connected in a later incarnation")

    def peers(self) -> list[PeerAddress]:
        """Those that a link is held to, up or not."""
        return [peer.address for peer in self._peers.values()]

    def version_of(self, peer: NodeId) -> int:
        """Of the link's protocol, as both sides speak it; 0 for a peer that is not up."""
        known = self._up_peer(peer)
        if known is None or known.incoming is None or known.outgoing is None:
            return 0
        return min(known.incoming.identity.version, known.outgoing.identity.version)

    def is_up(self, peer: NodeId) -> bool:
        return self._up_peer(peer) is not None

    def is_absent(self, peer: NodeId) -> bool:
        """Does nobody listen where the peer should? Then its process has ended, or has only just begun."""
        known = self._peers.get(peer)
        return known is not None and known.is_absent

    def up_peers(self) -> list[NodeId]:
        """Ascending."""
        return sorted(node for node, peer in self._peers.items() if peer.state is PeerState.UP)

    def statistics(self) -> LinksStatistics:
        return LinksStatistics(
            peers=tuple(self._peers[node].statistics() for node in sorted(self._peers)),
            handshakes_pending=self._inbound.handshakes_pending,
        )

    def is_full(self, peer: NodeId) -> bool:
        """Does so much wait for the peer already that whoever can should wait with large messages?"""
        known = self._up_peer(peer)
        return known is not None and known.outgoing is not None and known.outgoing.outbox.is_bulk_full

    def send(self, peer: NodeId, kind: int, body: Body, *, control: bool = False, droppable: bool = False) -> bool:
        """Queue one message; True when it is queued, which promises nothing about its arrival.

        `control` messages of at most frame_bytes_max overtake all others. Over the outbox bound a `droppable`
        message is dropped, any other closes the link. Raises ValueError for a body over message_bytes_max,
        TypeError for one that msgpack cannot carry.
        """
        assert 0 <= kind <= KIND_MAX
        known = self._up_peer(peer)
        if known is None:
            return False
        return self._carrier.queue(known, kind, body, control=control, droppable=droppable)

    async def call(self, peer: NodeId, kind: int, body: Body, timeout_seconds: float, *, control: bool = False) -> Body:
        """Ask the peer's handler. Request and response go by the control lane if `control`.

        Raises LinkDown, LinkTimeout, RemoteError; ValueError and TypeError like `send`.
        """
        assert 0 <= kind <= KIND_MAX
        known = self._peers.get(peer)
        if known is None or known.state is not PeerState.UP:
            # By its name: a node's id is another number than the one in its name.
            raise LinkDown(f"no link to {known.address.name if known else f'node {peer}'}")
        return await self._calls.call(known, kind, body, timeout_seconds, control=control)

    def _up_peer(self, node: NodeId) -> Peer | None:
        peer = self._peers.get(node)
        return peer if peer is not None and peer.state is PeerState.UP else None

    async def _dial(self, peer: Peer) -> None:
        """Keep an outgoing connection to the peer; ends when the peer is removed."""
        limits = self._limits
        backoff = limits.backoff_first_seconds
        with peer.dialling:
            while True:
                times_up = peer.times_up
                if self._identity.cluster_id:
                    await self._dial_once(peer)
                if peer.times_up != times_up:
                    backoff = limits.backoff_first_seconds
                with trio.move_on_after(backoff * (0.5 + self._random.random())):
                    await peer.redial.wait()
                if peer.redial.is_set():
                    peer.redial = trio.Event()
                backoff = min(backoff * 2, limits.backoff_max_seconds)

    async def _dial_once(self, peer: Peer) -> None:
        address = peer.address
        host, port = address.place(peer.failed_dials)
        where = f"{host}:{port}"
        peer.failed_dials += 1
        peer.connecting = trio.CancelScope()
        try:
            sock, identity = await dial(
                host,
                port,
                identity=self._identity,
                secret=self._secret,
                limits=self._limits,
                certificates=self._certificates,
                connecting=peer.connecting,
            )
        except STRANGER_ERRORS as error:
            if peer.connecting.cancelled_caught:
                return
            peer.is_absent = isinstance(error, ConnectionRefusedError)
            kind, text = "dial", describe_error(error)
            if isinstance(error, Refused):
                if error.code is Refusal.UNFOUNDED:
                    return
                kind, text = error.code.value, f"{text} with {address.name}"
                if error.code is Refusal.LEFT:
                    self._handler.refused(address.node, error.text)
            self._complaints.say(address.name, kind, f"cannot link to {where}: {text}")
            return
        peer.is_absent = False
        if (identity.node, identity.cluster_id) != (address.node, self._identity.cluster_id):
            sockets.close(sock)
            text = f"is node {identity.node}, expected node {address.node} ({address.name})"
            self._complaints.say(address.name, "identity", f"cannot link to {where}: {text}")
            return
        peer.failed_dials = 0
        await self._write(peer, Outgoing(sock, identity, self._limits))

    async def _write(self, peer: Peer, outgoing: Outgoing) -> None:
        peer.outgoing = outgoing
        reason = ""
        try:
            self._carrier.meet(peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._carrier.write_when_writable, peer, outgoing)
                surplus = await sockets.receive(outgoing.sock)
                reason = "data where the peer may only read" if surplus else "closed by the peer"
                nursery.cancel_scope.cancel()
        except* sockets.Disconnected as group:
            reason = describe_error(group.exceptions[0])
        finally:
            if peer.outgoing is outgoing:
                self._carrier.part(peer, reason or peer.failure or STOPPING)
