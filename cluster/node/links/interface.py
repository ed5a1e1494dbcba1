"""The words of inter-node links that the layers above share.

Law: values, protocols and errors only. A link is one pair of authenticated TCP connections, one in each
direction; it is up when both have finished their handshake and down as soon as either closes.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from cluster.raft.types import NodeId

Body: TypeAlias = Any
"""What msgpack carries: None, bool, int, str, bytes, list, dict. Bytes stay bytes; tuples arrive as lists."""

KIND_MAX = 239
"""Message kinds of the layers above are 0..239; the rest belongs to the link itself."""


class LinkError(Exception):
    """Base of what a `call` can raise; the text is one clear line."""


class LinkDown(LinkError):
    """The link is not up, or closed before the response came: whether the request was served is unknown."""


class LinkTimeout(LinkError):
    """No response within the time given: whether the request was served is unknown."""


class RemoteError(LinkError):
    """The other node's handler refused the request with a `RequestError`; the text is the one it gave."""


class RequestError(Exception):
    """Raised by a `LinkHandler.request` to refuse: the caller sees `RemoteError` with the same text."""


class ProtocolViolation(Exception):
    """The peer sent what it may not send. Raised by a `LinkHandler.message`, it closes that link."""


class ProbeFailed(LinkError):
    """A probe got no description: nobody there, wrong secret, wrong version."""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a member listens for links, and who must answer there. `also`: where it may be if it is not there."""

    name: str
    node: NodeId
    host: str
    port: int
    also: tuple[tuple[str, int], ...] = ()

    def place(self, attempt: int) -> tuple[str, int]:
        """Host and port to try."""
        places = ((self.host, self.port), *self.also)
        return places[attempt % len(places)]


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Every bound of the links of a node.

    outbox_bytes_max           bulk bytes waiting for one peer; over it a droppable message is dropped. Any other
                               closes the link, but not before message_bytes_max more wait: one large message
                               is no reason. An empty outbox admits one message of any size.
    control_bytes_max          the same for the control lane: full bulk never refuses a heartbeat
    frame_bytes_max            a longer body is split into fragments, between which control goes out
    message_bytes_max          a longer body is refused: ValueError at the sender, the receiver closes the link
    handshake_timeout_seconds  an unfinished handshake is closed after it
    handshake_frame_bytes_max  a longer frame before authentication closes the connection
    handshakes_pending_max     a connection over it is closed at once
    requests_pending_max       requests of one peer being served; one over it is refused with a `RemoteError`
    ping_interval_seconds      a ping goes out on every link this often
    link_timeout_seconds       a link on which nothing arrived for so long is closed; also TCP_USER_TIMEOUT
    connect_timeout_seconds    for name lookup and TCP connect together
    backoff_first_seconds      first pause before dialling again; doubles with jitter
    backoff_max_seconds        longest pause
    complaint_interval_seconds the same complaint about the same peer is logged at most this often
    """

    outbox_bytes_max: int = 64 << 20
    control_bytes_max: int = 4 << 20
    frame_bytes_max: int = 256 << 10
    message_bytes_max: int = 192 << 20
    handshake_timeout_seconds: float = 5.0
    handshake_frame_bytes_max: int = 4096
    handshakes_pending_max: int = 64
    requests_pending_max: int = 4096
    ping_interval_seconds: float = 1.0
    link_timeout_seconds: float = 5.0
    connect_timeout_seconds: float = 5.0
    backoff_first_seconds: float = 0.05
    backoff_max_seconds: float = 1.0
    complaint_interval_seconds: float = 60.0


class LinkHandler(Protocol):
    """What the node does with what arrives. Everything runs on the Trio thread.

    For one peer the order is link_up, then messages and requests, then link_down, and again. None of these is
    ever called from inside `send`, `call`, `add_peer` or `remove_peer`.
    """

    def message(self, peer: NodeId, kind: int, body: Body) -> None:
        """One message. Raises `ProtocolViolation` to close the link."""

    def request(self, peer: NodeId, kind: int, body: Body) -> Body | Awaitable[Body]:
        """One request: the response, or an awaitable of it. Raises `RequestError` to refuse it.

        An awaitable is not cancelled when the link closes; its response is then dropped.
        """

    def link_up(self, peer: NodeId, incarnation: int) -> None:
        """Both directions are authenticated. `incarnation` grows with each start of the peer."""

    def link_down(self, peer: NodeId, reason: str) -> None:
        """The link closed; pending calls to the peer have failed with `LinkDown`."""

    def describe(self) -> dict[str, Body]:
        """What a probe is told: cluster id, members, state; msgpack-able, at most 256 KiB packed."""

    async def petition(self, body: dict[str, Body]) -> dict[str, Body]:
        """A stranger that knows the secret asks to become a member: the answer."""

    def refused(self, peer: NodeId, text: str) -> None:
        """The peer says that this node is no member any more."""


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """Counters since the peer was added, and the present state. Bytes are wire bytes, headers included."""

    node: NodeId
    name: str
    up: bool
    incarnation: int
    times_up: int
    messages_sent: int
    messages_dropped: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    outbox_bytes: int
    calls_pending: int
    requests_pending: int


@dataclass(frozen=True, slots=True)
class LinksStatistics:
    """All peers, ascending by node, and the unauthenticated connections now open."""

    peers: tuple[PeerStatistics, ...]
    handshakes_pending: int
