"""Handshakes over sockets: both sides of `handshake` with their deadlines and refusals.

Law: until a handshake is done the other side is a stranger: its frames are small, its time is limited, and
whatever it does raises one of STRANGER_ERRORS and nothing else.
"""

from __future__ import annotations

import secrets
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from cluster.node.links import sockets
from cluster.node.links.frames import (
    CHALLENGE,
    DESCRIPTION,
    HELLO,
    PETITION,
    PROOF,
    REFUSED,
    WELCOME,
    FrameReader,
    encode_frame,
    pack_body,
)
from cluster.node.links.handshake import (
    NONCE_BYTES,
    Acceptor,
    Dialer,
    Identity,
    Purpose,
    Refused,
    parse_refused,
    refused_body,
)
from cluster.node.links.interface import Body, LinkLimits, ProbeFailed, ProtocolViolation
from cluster.node.tls import Certificates, Socket
from cluster.raft.types import NOBODY

STRANGER_ERRORS: Final = (OSError, sockets.Disconnected, trio.TooSlowError, ProtocolViolation, Refused)
_TLS_RECORD: Final = b"\x16"
"""What a TLS client says first (RFC 8446 §5.1). A frame that began so would be longer than a stranger's may be."""
_DESCRIPTION_BYTES_MAX: Final = 256 << 10
PETITION_TIMEOUT_SECONDS: Final = 10.0
"""How long a member may take to have somebody admitted."""


def describe_error(error: BaseException) -> str:
    """One clear line for a log or a `link_down` reason."""
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


class _Stranger:
    """One unauthenticated connection, a frame at a time."""

    __slots__ = ("_messages", "_reader", "_sock")

    def __init__(self, sock: Socket, *, frame_bytes_max: int) -> None:
        self._sock = sock
        self._reader = FrameReader(frame_bytes_max=frame_bytes_max, message_bytes_max=frame_bytes_max)
        self._messages: deque[tuple[int, Body]] = deque()

    async def read(self, kind: int) -> Body:
        """The body of the next frame, which must be of `kind`. Raises Refused when it is a refusal."""
        while not self._messages:
            data = await sockets.receive(self._sock)
            if not data:
                raise sockets.Disconnected("closed during handshake")
            self._messages.extend(self._reader.feed(data))
        got, body = self._messages.popleft()
        if got == REFUSED:
            raise parse_refused(body)
        if got != kind:
            raise ProtocolViolation(f"frame kind {got} during handshake, expected {kind}")
        return body

    async def write(self, kind: int, packed: bytes) -> None:
        await sockets.send_all(self._sock, b"".join(encode_frame(kind, packed)))

    def leave(self) -> None:
        """The handshake is over. Raises ProtocolViolation when more than it was sent."""
        if self._messages or not self._reader.is_between_messages:
            raise ProtocolViolation("data before the end of the handshake")


async def _introduce(stranger: _Stranger, identity: Identity, purpose: Purpose, secret: bytes) -> Identity:
    dialer = Dialer(identity=identity, purpose=purpose, secret=secret, nonce=secrets.token_bytes(NONCE_BYTES))
    await stranger.write(HELLO, dialer.hello())
    await stranger.write(PROOF, dialer.on_challenge(await stranger.read(CHALLENGE)))
    return dialer.on_welcome(await stranger.read(WELCOME))


async def _sealed(sock: socket.socket, host: str, certificates: Certificates | None) -> Socket:
    return sock if certificates is None else await certificates.dialled(sock, host)


async def dial(
    host: str,
    port: int,
    *,
    identity: Identity,
    secret: bytes,
    limits: LinkLimits,
    certificates: Certificates | None,
    connecting: trio.CancelScope,
) -> tuple[Socket, Identity]:
    """A connection on which this node may send, and who listens at its end. Raises STRANGER_ERRORS.

    `connecting` can be cancelled until there is a connection, and gives up the attempt.
    """
    sock = None
    with trio.fail_after(limits.connect_timeout_seconds), connecting:
        sock = await sockets.connect(host, port)
    if sock is None:
        raise sockets.Disconnected("given up")
    try:
        sockets.tune(sock, user_timeout_seconds=limits.link_timeout_seconds)
        with trio.fail_after(limits.handshake_timeout_seconds):
            link = await _sealed(sock, host, certificates)
            stranger = _Stranger(link, frame_bytes_max=limits.handshake_frame_bytes_max)
            other = await _introduce(stranger, identity, Purpose.LINK, secret)
        stranger.leave()
    except BaseException:
        sockets.close(sock)
        raise
    return link, other


async def probe(
    host: str,
    port: int,
    secret: bytes,
    *,
    name: str = "",
    limits: LinkLimits | None = None,
    certificates: Certificates | None = None,
) -> dict[str, Body]:
    """What the node that listens there says of itself (`LinkHandler.describe`). Needs no membership.

    Raises ProbeFailed; ends within connect_timeout_seconds plus handshake_timeout_seconds.
    """
    return await _ask(host, port, secret, name, None, limits or LinkLimits(), certificates)


async def petition(
    host: str,
    port: int,
    secret: bytes,
    body: dict[str, Body],
    *,
    name: str = "",
    limits: LinkLimits | None = None,
    certificates: Certificates | None = None,
) -> dict[str, Body]:
    """What the node that listens there answers to who would be a member (`LinkHandler.petition`).

    Raises ProbeFailed; ends within connect_timeout_seconds, handshake_timeout_seconds and PETITION_TIMEOUT_SECONDS.
    """
    return await _ask(host, port, secret, name, body, limits or LinkLimits(), certificates)


async def _ask(
    host: str,
    port: int,
    secret: bytes,
    name: str,
    body: dict[str, Body] | None,
    limits: LinkLimits,
    certificates: Certificates | None,
) -> dict[str, Body]:
    identity = Identity(cluster_id="", node=NOBODY, name=name, incarnation=0)
    purpose = Purpose.PROBE if body is None else Purpose.PETITION
    sock = None
    try:
        with trio.fail_after(limits.connect_timeout_seconds):
            sock = await sockets.connect(host, port)
        with trio.fail_after(limits.handshake_timeout_seconds) as patience:
            link = await _sealed(sock, host, certificates)
            stranger = _Stranger(link, frame_bytes_max=_DESCRIPTION_BYTES_MAX)
            await _introduce(stranger, identity, purpose, secret)
            if body is not None:
                patience.deadline += PETITION_TIMEOUT_SECONDS
                await stranger.write(PETITION, pack_body(body))
            answer = await stranger.read(DESCRIPTION)
        if not isinstance(answer, dict):
            raise ProtocolViolation("malformed description")
    except STRANGER_ERRORS as error:
        raise ProbeFailed(f"{host}:{port}: {describe_error(error)}") from None
    finally:
        if sock is not None:
            sockets.close(sock)
    return answer


@dataclass(frozen=True, slots=True)
class Host:
    """What the accepting side needs to receive strangers. `admit` raises Refused for an unwanted dialer; with
    `certificates`, strangers speak TLS, or may where plain ones are let in too."""

    identity: Identity
    secret: bytes
    limits: LinkLimits
    admit: Callable[[Identity], None]
    describe: Callable[[], dict[str, Body]]
    petition: Callable[[dict[str, Body]], Awaitable[dict[str, Body]]]
    certificates: Certificates | None
    is_plain_accepted: bool = False


async def _received(sock: socket.socket, host: Host) -> Socket:
    if host.certificates is None:
        return sock
    if host.is_plain_accepted and await sockets.peek(sock) != _TLS_RECORD:
        return sock
    return await host.certificates.accepted(sock)


async def receive_stranger(sock: socket.socket, host: Host) -> tuple[Socket, Identity] | None:
    """The authenticated dialer of a link and where to read from it, or None for a question that has been answered.

    Does not close the socket. Raises STRANGER_ERRORS; a Refused has been told to the other side, and carries
    the name that the dialer claimed.
    """
    sockets.tune(sock, user_timeout_seconds=host.limits.link_timeout_seconds)
    acceptor = Acceptor(
        identity=host.identity, secret=host.secret, nonce=secrets.token_bytes(NONCE_BYTES), admit=host.admit
    )
    with trio.fail_after(host.limits.handshake_timeout_seconds) as patience:
        link = await _received(sock, host)
        stranger = _Stranger(link, frame_bytes_max=host.limits.handshake_frame_bytes_max)
        try:
            await stranger.write(CHALLENGE, acceptor.on_hello(await stranger.read(HELLO)))
            welcome = acceptor.on_proof(await stranger.read(PROOF))
        except Refused as refused:
            await stranger.write(REFUSED, refused_body(refused))
            if acceptor.dialer is not None:
                refused.claimed = acceptor.dialer.name
            raise
        await stranger.write(WELCOME, welcome)
        if acceptor.purpose is Purpose.PETITION:
            body = await stranger.read(PETITION)
            if not isinstance(body, dict):
                raise ProtocolViolation("malformed petition")
            patience.deadline += PETITION_TIMEOUT_SECONDS
            await stranger.write(DESCRIPTION, pack_body(await host.petition(body)))
            return None
        stranger.leave()
        if acceptor.purpose is Purpose.PROBE:
            await stranger.write(DESCRIPTION, pack_body(host.describe()))
            return None
    assert acceptor.dialer is not None
    return link, acceptor.dialer
