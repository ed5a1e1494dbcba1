"""A client of octets: says what no client library would, and shows every frame that comes back.

Law: it hides nothing and repairs nothing. Whoever waits here waits at most `TIMEOUT_SECONDS`.
"""

from __future__ import annotations

import select
import socket
from struct import Struct
from types import TracebackType
from typing import NamedTuple, TypeVar

from cluster.amqp import methods as m
from cluster.amqp.constants import PROTOCOL_HEADER
from cluster.amqp.field_table import FieldTable
from cluster.amqp.frames import content_frames, method_frame
from cluster.amqp.method import Method
from cluster.amqp.properties import BasicProperties, encode_header
from cluster.node.dev.layout import HOST

TIMEOUT_SECONDS = 20.0
FRAME_HEAD = Struct(">BHI")
FRAME_END = 0xCE
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
CAPABILITIES: FieldTable = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}

M = TypeVar("M", bound=Method)


class Frame(NamedTuple):
    kind: int
    channel: int
    payload: bytes


class Message(NamedTuple):
    """A method that brought content: basic.deliver, basic.return, basic.get-ok."""

    method: Method
    header: bytes
    body: bytes


def frame(kind: int, channel: int, payload: bytes, end: int = FRAME_END) -> bytes:
    """One frame, good or not."""
    return FRAME_HEAD.pack(kind, channel, len(payload)) + payload + bytes((end,))


def publish(
    exchange: str,
    routing_key: str,
    body: bytes = b"",
    properties: BasicProperties | None = None,
    *,
    channel: int = 1,
    mandatory: bool = False,
    immediate: bool = False,
    frame_max: int = 131072,
) -> bytes:
    """The frames of a basic.publish."""
    method = m.BasicPublish(exchange, routing_key, mandatory, immediate).encode()
    header = encode_header(len(body), properties or BasicProperties())
    return content_frames(channel, method, header, body, frame_max)


class Wire:
    """One TCP connection to a node. Use as a context manager."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gone without a word."""
        self._socket.close()

    # ---- out

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def call(self, method: Method, channel: int = 1) -> None:
        """Send a method without content."""
        self.send(method_frame(channel, method.encode()))

    # ---- in

    def read_exactly(self, count: int) -> bytes:
        """Raises EOFError when the server ends first."""
        while len(self._buffer) < count:
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError(f"{len(self._buffer)} octets left")
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def frame(self) -> Frame:
        """The next frame, heartbeats too. Raises EOFError."""
        kind, channel, size = FRAME_HEAD.unpack(self.read_exactly(FRAME_HEAD.size))
        payload = self.read_exactly(size + 1)
        assert payload[-1] == FRAME_END
        return Frame(kind, channel, payload[:-1])

    def method(self) -> tuple[int, Method]:
        """Channel and method of the next frame that is no heartbeat; it must be a method's."""
        while (got := self.frame()).kind == HEARTBEAT:
            pass
        assert got.kind == METHOD, got
        return got.channel, m.METHODS[int.from_bytes(got.payload[:4])].decode(got.payload)

    def expect(self, kind: type[M], channel: int = 1) -> M:
        """The next method must be of this class, on this channel."""
        on, method = self.method()
        assert isinstance(method, kind), method
        assert on == channel
        return method

    def message(self, kind: type[Method], channel: int = 1) -> Message:
        """The next frames must be this method and its content."""
        method = self.expect(kind, channel)
        header = self.frame()
        assert (header.kind, header.channel) == (HEADER, channel)
        size = int.from_bytes(header.payload[4:12])
        body = b""
        while len(body) < size:
            part = self.frame()
            assert (part.kind, part.channel) == (BODY, channel)
            body += part.payload
        return Message(method, header.payload, body)

    def silent_for(self, seconds: float) -> bool:
        """Does nothing come, and not the end either?"""
        return not self._buffer and not select.select([self._socket], [], [], seconds)[0]

    def at_end(self) -> bool:
        """Has the server closed, after nothing but heartbeats?"""
        try:
            while self.frame().kind == HEARTBEAT:
                pass
        except EOFError as error:
            return str(error).startswith("0 ")
        return False

    # ---- the usual beginning

    def begin(self) -> m.ConnectionStart:
        self.send(PROTOCOL_HEADER)
        return self.expect(m.ConnectionStart, 0)

    def log_in(
        self,
        user: str = "guest",
        password: str = "guest",
        mechanism: str = "PLAIN",
        capabilities: FieldTable = CAPABILITIES,
    ) -> None:
        """Through start-ok; what the server says to it is still to be read."""
        self.begin()
        response = b"\0" + user.encode() + b"\0" + password.encode()
        self.call(m.ConnectionStartOk({"capabilities": capabilities}, mechanism, response, "en_US"), 0)

    def tune(self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 0) -> m.ConnectionTune:
        """Read the offer and send this answer."""
        offer = self.expect(m.ConnectionTune, 0)
        self.call(m.ConnectionTuneOk(channel_max, frame_max, heartbeat), 0)
        return offer

    def open(
        self,
        *channels: int,
        user: str = "guest",
        password: str = "guest",
        vhost: str = "/",
        capabilities: FieldTable = CAPABILITIES,
        channel_max: int = 2047,
        frame_max: int = 131072,
        heartbeat: int = 0,
    ) -> Wire:
        """Everything up to open connection and channels."""
        self.log_in(user, password, capabilities=capabilities)
        self.tune(channel_max, frame_max, heartbeat)
        self.call(m.ConnectionOpen(vhost), 0)
        self.expect(m.ConnectionOpenOk, 0)
        for channel in channels:
            self.open_channel(channel)
        return self

    def open_channel(self, channel: int) -> None:
        self.call(m.ChannelOpen(), channel)
        self.expect(m.ChannelOpenOk, channel)

    # ---- ends

    def close_channel(self) -> None:
        """In order."""
        self.call(m.ChannelClose(200, "", 0, 0))
        self.expect(m.ChannelCloseOk)

    def close_connection(self) -> None:
        """In order."""
        self.call(m.ConnectionClose(200, "", 0, 0), 0)
        self.expect(m.ConnectionCloseOk, 0)

    def assert_channel_closed(self, code: int, text: str, channel: int = 1) -> None:
        """channel.close with this code and this whole text; the connection, and the channel's number, live on."""
        close = self.expect(m.ChannelClose, channel)
        assert (close.reply_code, close.reply_text) == (code, text)
        self.call(m.ChannelCloseOk(), channel)
        self.open_channel(channel)

    def assert_connection_closed(self, code: int, text: str) -> None:
        """connection.close with this code and this whole text, and after close-ok the end."""
        close = self.expect(m.ConnectionClose, 0)
        assert (close.reply_code, close.reply_text) == (code, text)
        self.call(m.ConnectionCloseOk(), 0)
        assert self.at_end()
