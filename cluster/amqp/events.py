"""What a server connection tells the broker.

Law: events come in the order of the wire. `PublishBatch` and `AckBatch` carry a run of consecutive frames of
one channel; a run ends where anything else, another channel, or the received chunk ends, so how often it is
cut depends on how the bytes arrived, and nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from cluster.amqp.errors import ChannelException, ConnectionException
from cluster.amqp.field_table import FieldTable
from cluster.amqp.method import Method
from cluster.amqp.pieces import Octets


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """Answer with accept_login() or refuse_login(). `mechanism` is PLAIN or AMQPLAIN.

    No further input is parsed until then. The password stays out of repr and so out of logs.
    """

    mechanism: str
    username: str
    password: bytes = field(repr=False)
    client_properties: FieldTable


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """connection.open. Answer with accept_open() or connection_error(); no input is parsed until then."""

    vhost: str


@dataclass(frozen=True, slots=True)
class SecretUpdated:
    """connection.update-secret. Answer with accept_secret() or connection_error()."""

    secret: bytes = field(repr=False)
    reason: str


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    """channel.open; open-ok has been queued."""

    channel: int


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The client sent channel.close. Flush what came before, then call close_channel_ok(channel)."""

    channel: int
    reply_code: int
    reply_text: str


@dataclass(frozen=True, slots=True)
class ChannelFailed:
    """The machine itself found `error` and has sent channel.close. The broker drops the channel."""

    channel: int
    error: ChannelException


@dataclass(slots=True)
class MethodReceived:
    """A method without content that a client may send, other than connection.*, channel.open and close."""

    channel: int
    method: Method


@dataclass(slots=True)
class PublishBatch:
    """Complete publishes, in order; the three lists are parallel and never empty.

    methods   payload of each basic.publish method frame; well-formed, so BasicPublish.decode cannot fail.
              Equal payloads are mostly the same object, so that a dict lookup finds its hash computed
    headers   payload of each content header frame; class, weight and body size are checked, the properties
              are not: properties.peek and decode_header raise ConnectionException
    bodies    each whole, however many frames it came in; a large one in the pieces it came in
    """

    channel: int
    methods: list[bytes]
    headers: list[bytes]
    bodies: list[Octets]


@dataclass(slots=True)
class AckBatch:
    """Delivery tags of consecutive basic.ack with multiple=false, in the order they came."""

    channel: int
    tags: list[int]


@dataclass(frozen=True, slots=True)
class ConnectionCloseRequested:
    """The client sent connection.close; everything after it is ignored. Clean up, then call close_ok()."""

    reply_code: int
    reply_text: str


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The machine itself found `error` and has sent connection.close. ConnectionClosed follows."""

    error: ConnectionException


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """Nothing more comes. Write what take_output() holds, then close the socket.

    `error` is what the connection was closed for by this side, None if it was not. `abrupt` means that the
    peer closed the socket without the close handshake.
    """

    error: ConnectionException | None
    abrupt: bool


Event: TypeAlias = (
    LoginRequest
    | OpenRequest
    | SecretUpdated
    | ChannelOpened
    | ChannelClosed
    | ChannelFailed
    | MethodReceived
    | PublishBatch
    | AckBatch
    | ConnectionCloseRequested
    | ConnectionFailed
    | ConnectionClosed
)
