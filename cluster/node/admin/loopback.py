"""An AMQP client of this node, for the length of one request of the management interface.

Law: it logs in as the caller, so that permissions, limits and every property of messages and queues hold as for any
other client. One channel, one thing at a time, within `TIMEOUT_SECONDS` altogether.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import trio

from cluster.amqp import methods as m
from cluster.amqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from cluster.amqp.errors import ConnectionException
from cluster.amqp.field_table import FieldTable
from cluster.amqp.frames import FRAME_HEAD, content_frames, method_frame
from cluster.amqp.method import Method
from cluster.amqp.properties import BasicProperties, decode_header, encode_header
from cluster.broker.errors import BrokerError, Scope
from cluster.node.admin.source import Refusal, Refused

TIMEOUT_SECONDS = 5.0
_RECEIVE_BYTES = 64 << 10
_CHANNEL = 1

M = TypeVar("M", bound=Method)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message that basic.get gave; it is the channel's until it is settled."""

    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    message_count: int
    properties: BasicProperties
    body: bytes


@asynccontextmanager
async def loopback(stream: trio.SocketStream, user: str, password: str, vhost: str) -> AsyncIterator[Loopback]:
    """A client in a vhost, over a new connection.

    Raises BrokerError for what the node refuses, Refused when it does not answer in time.
    """
    refused: BrokerError | None = None
    with trio.move_on_after(TIMEOUT_SECONDS) as patience:
        try:
            async with stream:
                client = Loopback(stream)
                try:
                    await client.open(user, password, vhost)
                    yield client
                except BrokerError as error:
                    refused = error
        except (OSError, trio.BrokenResourceError) as error:
            raise Refused(Refusal.UNAVAILABLE, f"no AMQP connection to this node: {error}") from error
    if refused is not None:
        raise refused
    if patience.cancelled_caught:
        raise Refused(Refusal.UNAVAILABLE, "the queue's leader did not answer in time")


class Loopback:
    """The client's side of one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._frame_max = 0

    async def open(self, user: str, password: str, vhost: str) -> None:
        await self._stream.send_all(b"AMQP\x00\x00\x09\x01")
        await self._expect(m.ConnectionStart)
        response = b"\0" + user.encode() + b"\0" + password.encode()
        capabilities: FieldTable = {"authentication_failure_close": True}
        properties: FieldTable = {"product": "management API", "capabilities": capabilities}
        await self._send(m.ConnectionStartOk(properties, "PLAIN", response, "en_US"), channel=0)
        tune = await self._expect(m.ConnectionTune)
        self._frame_max = tune.frame_max
        await self._send(m.ConnectionTuneOk(tune.channel_max, tune.frame_max, 0), channel=0)
        await self._send(m.ConnectionOpen(vhost), channel=0)
        await self._expect(m.ConnectionOpenOk)
        await self._send(m.ChannelOpen())
        await self._expect(m.ChannelOpenOk)

    async def publish(self, exchange: str, routing_key: str, properties: BasicProperties, body: bytes) -> bool:
        """Until it is confirmed. Whether it was routed to a queue. Nothing more is heard during an alarm."""
        await self._send(m.ConfirmSelect(False))
        await self._expect(m.ConfirmSelectOk)
        method = m.BasicPublish(exchange, routing_key, True, False)
        header = encode_header(len(body), properties)
        await self._stream.send_all(content_frames(_CHANNEL, method.encode(), header, body, self._frame_max))
        routed = True
        while True:
            match await self._method():
                case m.BasicReturn():
                    routed = False
                    await self._content()
                case m.BasicAck():
                    return routed
                case m.BasicNack():
                    raise Refused(Refusal.CONFLICT, "the message was refused: a queue is full or has no quorum")
                case _:
                    continue

    async def get(self, queue: str, *, no_ack: bool) -> Fetched | None:
        """None when nothing is ready."""
        await self._send(m.BasicGet(queue, no_ack))
        while True:
            match await self._method():
                case m.BasicGetEmpty():
                    return None
                case m.BasicGetOk() as got:
                    properties, body = await self._content()
                    return Fetched(
                        got.delivery_tag,
                        got.redelivered,
                        got.exchange,
                        got.routing_key,
                        got.message_count,
                        properties,
                        body,
                    )
                case _:
                    continue

    async def reject(self, delivery_tag: int, *, requeue: bool) -> None:
        await self._send(m.BasicReject(delivery_tag, requeue))

    async def close(self) -> None:
        """Everything that was asked for holds when it returns."""
        await self._send(m.ChannelClose(200, "", 0, 0))
        await self._expect(m.ChannelCloseOk)
        await self._send(m.ConnectionClose(200, "", 0, 0), channel=0)
        await self._expect(m.ConnectionCloseOk)

    # ---- frames

    async def _send(self, method: Method, *, channel: int = _CHANNEL) -> None:
        await self._stream.send_all(method_frame(channel, method.encode()))

    async def _expect(self, kind: type[M]) -> M:
        """Words in between (connection.blocked) are passed over. Raises BrokerError when the node closes."""
        while True:
            method = await self._method()
            if isinstance(method, kind):
                return method

    async def _method(self) -> Method:
        while True:
            kind, payload = await self._frame()
            if kind != FRAME_METHOD:
                continue
            method = m.METHODS[int.from_bytes(payload[:4])].decode(payload)
            if isinstance(method, m.ChannelClose | m.ConnectionClose):
                raise BrokerError(method.reply_code, method.reply_text, Scope.CHANNEL)
            return method

    async def _content(self) -> tuple[BasicProperties, bytes]:
        header = b""
        while not header:
            kind, payload = await self._frame()
            header = payload if kind == FRAME_HEADER else b""
        body_size = int.from_bytes(header[4:12])
        try:
            properties = decode_header(header).properties
        except ConnectionException:
            # The broker passes tables on unread: the message is there, and whoever looks at the queue has to see it.
            properties = BasicProperties()
        body = bytearray()
        while len(body) < body_size:
            kind, payload = await self._frame()
            if kind == FRAME_BODY:
                body += payload
        return properties, bytes(body)

    async def _frame(self) -> tuple[int, bytes]:
        kind, _, size = FRAME_HEAD.unpack(await self._octets(FRAME_HEAD.size))
        payload = await self._octets(size + 1)
        return kind, payload[:-1]

    async def _octets(self, count: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < count:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
            if not data:
                raise trio.BrokenResourceError("the connection was closed")
            buffer += data
        octets = bytes(buffer[:count])
        del buffer[:count]
        return octets
