"""A peer: both connections of one link, the calls that wait for it, and its counters.

Law: UP only while both connections are attached and belong to the same incarnation of the peer. A connection
that is attached is closed exactly when it is detached.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import trio

from cluster.node.links.frames import FrameReader
from cluster.node.links.handshake import Identity
from cluster.node.links.interface import Body, LinkError, LinkLimits, PeerAddress, PeerStatistics
from cluster.node.links.outbox import Outbox
from cluster.node.tls import Socket


class PeerState(enum.Enum):
    """APART: a direction is missing. FAILING: to be closed after this scheduler round; nothing is sent."""

    APART = enum.auto()
    UP = enum.auto()
    FAILING = enum.auto()


class Outgoing:
    """The connection this node dialled; it only writes there."""

    __slots__ = ("identity", "outbox", "sock", "writer_wanted")

    def __init__(self, sock: Socket, identity: Identity, limits: LinkLimits) -> None:
        self.sock = sock
        self.identity = identity
        self.outbox = Outbox(
            bulk_bytes_max=limits.outbox_bytes_max + limits.message_bytes_max,
            bulk_full_bytes=limits.outbox_bytes_max,
            control_bytes_max=limits.control_bytes_max,
        )
        self.writer_wanted = trio.Event()
        """Set while the socket is full and the writer task alone may write."""


class Incoming:
    """The connection the peer dialled; this node only reads there."""

    __slots__ = ("identity", "reader", "received_at", "sock")

    def __init__(self, sock: Socket, identity: Identity, limits: LinkLimits) -> None:
        self.sock = sock
        self.identity = identity
        self.reader = FrameReader(frame_bytes_max=limits.frame_bytes_max, message_bytes_max=limits.message_bytes_max)
        self.received_at = trio.current_time()


@dataclass(frozen=True, slots=True)
class Answer:
    """The body a call was answered with."""

    body: Body


class Call:
    """A request under way."""

    __slots__ = ("done", "outcome")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.outcome: Answer | LinkError | None = None

    def finish(self, outcome: Answer | LinkError) -> None:
        self.outcome = outcome
        self.done.set()


class Peer:
    """Everything the node knows of one member's link."""

    __slots__ = (
        "address",
        "bytes_received",
        "bytes_sent",
        "calls",
        "changed",
        "connecting",
        "dialling",
        "failed_dials",
        "failure",
        "incoming",
        "is_absent",
        "messages_dropped",
        "messages_received",
        "messages_sent",
        "outgoing",
        "redial",
        "requests_pending",
        "state",
        "times_up",
    )

    def __init__(self, address: PeerAddress) -> None:
        self.address = address
        self.state = PeerState.APART
        self.outgoing: Outgoing | None = None
        self.incoming: Incoming | None = None
        self.failure = ""
        """Why the state is FAILING."""
        self.is_absent = False
        """Was the last attempt to dial it refused by its machine?"""
        self.changed = trio.Event()
        """Set and replaced whenever `state` or an attached connection changes."""
        self.redial = trio.Event()
        """Set to dial at once, replaced by the dialling task."""
        self.dialling = trio.CancelScope()
        self.connecting = trio.CancelScope()
        """Of the attempt that is under way or was the last, until there is a connection."""
        self.failed_dials = 0
        """In a row, to find it under another of its addresses."""
        self.calls: dict[int, Call] = {}
        self.requests_pending = 0
        self.times_up = 0
        self.messages_sent = 0
        self.messages_dropped = 0
        self.messages_received = 0
        self.bytes_sent = 0
        self.bytes_received = 0

    def announce_change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def statistics(self) -> PeerStatistics:
        return PeerStatistics(
            node=self.address.node,
            name=self.address.name,
            up=self.state is PeerState.UP,
            incarnation=self.incoming.identity.incarnation if self.incoming else 0,
            times_up=self.times_up,
            messages_sent=self.messages_sent,
            messages_dropped=self.messages_dropped,
            messages_received=self.messages_received,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            outbox_bytes=self.outgoing.outbox.waiting_bytes if self.outgoing else 0,
            calls_pending=len(self.calls),
            requests_pending=self.requests_pending,
        )
