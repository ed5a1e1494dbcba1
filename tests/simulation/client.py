"""An AMQP client over a connection in memory: one connection, one channel.

Law: it says and hears octets only. One method is under way at a time; whoever waits for its answer gets it, `Refused`
when the channel was closed instead, or `Gone` when the connection ended. A refusal ends the client's use.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TypeVar

import trio

from cluster.amqp import methods as m
from cluster.amqp.constants import HEARTBEAT_FRAME, PROTOCOL_HEADER
from cluster.amqp.field_table import FieldTable
from cluster.amqp.frames import content_frames, method_frame
from cluster.amqp.method import Method
from cluster.amqp.properties import BasicProperties, encode_header
from tests.simulation.sockets import MemorySocket

HEARTBEAT_SECONDS = 4
"""Of a client that may fall silent without a word: its node has to notice."""
ANSWER_SECONDS = 45.0
"""Longer than a node takes to find out that it has no quorum, however often it is asked to wait."""
_FRAME_HEAD = Struct(">BHI")
_PERSISTENT = BasicProperties(delivery_mode=2)
_CAPABILITIES: FieldTable = {"basic.nack": True, "consumer_cancel_notify": True, "publisher_confirms": True}

M = TypeVar("M", bound=Method)


class Gone(Exception):
    """The connection is over."""


class Refused(Exception):
    """The channel was closed by the server."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


def _ignore(*_: object) -> None:
    """Not of interest to this client."""


class Client:
    """`on_deliver` (basic.deliver, body), `on_confirm` (delivery tag, multiple, ack?), `on_return` (body),
    `on_cancel` (consumer tag) are called as frames arrive; `on_end` when nothing comes any more, once or oftener."""

    def __init__(self, sock: MemorySocket) -> None:
        self.on_deliver: Callable[[m.BasicDeliver, bytes], None] = _ignore
        self.on_confirm: Callable[[int, bool, bool], None] = _ignore
        self.on_return: Callable[[bytes], None] = _ignore
        self.on_cancel: Callable[[str], None] = _ignore
        self.on_end: Callable[[], None] = _ignore
        self.header = b""
        """The content header of what came last."""
        self.over = False
        self.orderly = False
        """Did it end by connection.close, answered?"""
        self.refused: Refused | None = None
        self._socket = sock
        self._buffer = bytearray()
        self._content: tuple[Method, int, bytearray] | None = None
        self._answer: list[tuple[Method, bytes]] = []
        self._changed = trio.Event()
        self._unsent = bytearray()
        self._wanting = trio.lowlevel.ParkingLot()
        """Who sends, while there is nothing to send."""
        self._beats = trio.Event()
        self._scope = trio.CancelScope()
        self._silent = False

    # ---- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read and write until the connection is over."""
        task_status.started()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._beat)
                    await self._read()
                    nursery.cancel_scope.cancel()
            if self._silent:
                # Its node still counts on it, and with what it has in hand.
                await self._socket.given_up()
        finally:
            self.over = True
            self.on_end()
            if not self._silent:
                self._socket.close()
            self._stir()

    async def _beat(self) -> None:
        await self._beats.wait()
        while True:
            await trio.sleep(HEARTBEAT_SECONDS / 2)
            self.say(HEARTBEAT_FRAME)

    async def _read(self) -> None:
        while not self.orderly:
            await self._socket.readable()
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            self._buffer += data
            self._frames()

    async def _write(self) -> None:
        while True:
            while self._unsent:
                await self._socket.writable()
                try:
                    sent = self._socket.sendmsg([bytes(self._unsent)])
                except BlockingIOError:
                    continue
                except OSError:
                    await trio.sleep_forever()
                del self._unsent[:sent]
            await self._wanting.park()

    @property
    def alive(self) -> bool:
        return not self.over and self.refused is None and not self._socket.broken

    @property
    def beats(self) -> bool:
        """Does its node hear from it in any case?"""
        return self._beats.is_set()

    def fall_silent(self) -> None:
        """The client's machine is gone: its end of the connection is never closed."""
        self._silent = self.over = True
        self._scope.cancel()

    def vanish(self) -> None:
        """The client's process is gone."""
        if self._silent:
            return
        self.over = True
        self.on_end()
        self._socket.reset()

    async def open(self, *, beats: bool = False) -> None:
        """Up to an open channel; one that `beats` sends heartbeats, and may fall silent. Raises Gone."""
        self.say(PROTOCOL_HEADER)
        await self.expect(m.ConnectionStart)
        response = b"\0guest\0guest"
        start_ok = m.ConnectionStartOk({"capabilities": _CAPABILITIES}, "PLAIN", response, "en_US")
        self.say(method_frame(0, start_ok.encode()))
        await self.expect(m.ConnectionTune)
        self.say(method_frame(0, m.ConnectionTuneOk(100, 131072, HEARTBEAT_SECONDS if beats else 0).encode()))
        self.say(method_frame(0, m.ConnectionOpen("/").encode()))
        await self.expect(m.ConnectionOpenOk)
        if beats:
            self._beats.set()
        await self.call(m.ChannelOpen(), m.ChannelOpenOk)

    async def close(self) -> None:
        """Raises Gone."""
        self.say(method_frame(0, m.ConnectionClose(200, "bye", 0, 0).encode()))
        await self.expect(m.ConnectionCloseOk)
        self.orderly = True
        self._stir()

    # ---- words

    def say(self, octets: bytes) -> None:
        self._unsent += octets
        self._wanting.unpark_all()

    def tell(self, method: Method) -> None:
        """Nothing is answered to it."""
        self.say(method_frame(1, method.encode()))

    def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        mandatory: bool = False,
        properties: BasicProperties = _PERSISTENT,
    ) -> None:
        method = m.BasicPublish(exchange, key, mandatory, False).encode()
        header = encode_header(len(body), properties)
        self.say(content_frames(1, method, header, body, 131072))

    async def call(self, method: Method, kind: type[M]) -> M:
        """Raises Gone, Refused."""
        self.tell(method)
        return await self.expect(kind)

    async def expect(self, kind: type[M]) -> M:
        return (await self.expect_content(kind))[0]

    async def expect_content(self, *kinds: type[M]) -> tuple[M, bytes]:
        """The next answer, with its body. Raises Gone, Refused; AssertionError when none comes in time."""
        with trio.move_on_after(ANSWER_SECONDS):
            while True:
                if self._answer:
                    method, body = self._answer.pop(0)
                    assert isinstance(method, kinds), f"{kinds} expected, {method} came"
                    return method, body
                if self.refused is not None:
                    raise self.refused
                if self.over:
                    raise Gone
                await self._changed.wait()
        raise AssertionError(f"no answer within {ANSWER_SECONDS} s: {[kind.NAME for kind in kinds]}")

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for what arrives to make it true. False when it does not in time. Raises Gone, Refused."""
        with trio.move_on_after(seconds):
            while not condition():
                if self.refused is not None:
                    raise self.refused
                if self.over:
                    raise Gone
                await self._changed.wait()
            return True
        return False

    # ---- inside

    def _frames(self) -> None:
        buffer = self._buffer
        while len(buffer) >= 7:
            kind, _, size = _FRAME_HEAD.unpack_from(buffer)
            if len(buffer) < size + 8:
                break
            payload = bytes(buffer[7 : 7 + size])
            assert buffer[7 + size] == 0xCE
            del buffer[: size + 8]
            self._frame(kind, payload)
        self._stir()

    def _frame(self, kind: int, payload: bytes) -> None:
        if kind == 1:
            method = m.METHODS[int.from_bytes(payload[:4])].decode(payload)
            if method.HAS_CONTENT:
                self._content = (method, -1, bytearray())
            else:
                self._method(method, b"")
        elif kind == 8:
            return
        else:
            assert self._content is not None
            method, size, body = self._content
            if kind == 2:
                self.header = payload
                size = int.from_bytes(payload[4:12])
            else:
                body += payload
            self._content = (method, size, body)
            if len(body) == size:
                self._content = None
                self._method(method, bytes(body))

    def _method(self, method: Method, body: bytes) -> None:
        match method:
            case m.BasicDeliver():
                self.on_deliver(method, body)
            case m.BasicAck():
                self.on_confirm(method.delivery_tag, method.multiple, True)
            case m.BasicNack():
                self.on_confirm(method.delivery_tag, method.multiple, False)
            case m.BasicReturn():
                self.on_return(body)
            case m.BasicCancel():
                self.on_cancel(method.consumer_tag)
            case m.ChannelClose():
                self.refused = Refused(method.reply_code, method.reply_text)
                self.on_end()
                self.tell(m.ChannelCloseOk())
            case m.ConnectionClose():
                self.refused = Refused(method.reply_code, method.reply_text)
                self.on_end()
                self.say(method_frame(0, m.ConnectionCloseOk().encode()))
            case m.ConnectionBlocked() | m.ConnectionUnblocked():
                pass
            case _:
                self._answer.append((method, body))

    def _stir(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
