"""A client of frames for the benchmarks: it says much at once and reads what comes back, and costs next to nothing.

Law: it trusts the server: an answer that was not expected is an error, and nothing is repaired. Answers on one
channel come in the order of their questions.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from cluster.amqp import methods as m
from cluster.amqp.constants import FRAME_METHOD, PROTOCOL_HEADER
from cluster.amqp.frames import FRAME_HEAD, method_frame
from cluster.amqp.method import Method
from cluster.node.dev.layout import HOST

TIMEOUT_SECONDS = 120.0
_CLOSES = [kind.CLASS_ID << 16 | kind.METHOD_ID for kind in (m.ChannelClose, m.ConnectionClose)]


class Wire:
    """One connection with `channels` open channels, numbered from 1."""

    def __init__(self, port: int, channels: int = 1) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.channels = channels
        self._socket.sendall(PROTOCOL_HEADER)
        self.answers(1)
        self.tell(0, m.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US"))
        self.answers(1)
        self.tell(0, m.ConnectionTuneOk(channels, 131072, 0), m.ConnectionOpen("/"))
        self.answers(1)
        self.call_all(m.ChannelOpen() for _ in range(channels))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gone without a word."""
        self._socket.close()

    def tell(self, channel: int, *methods: Method) -> None:
        self.send(b"".join([method_frame(channel, method.encode()) for method in methods]))

    def send(self, octets: bytes) -> None:
        """Frames made elsewhere."""
        self._socket.sendall(octets)

    def answers(self, count: int, seen: Callable[[int, bytes], None] | None = None) -> None:
        """Wait for so many method frames; `seen` gets the channel and the payload of each.

        Raises RuntimeError if the server closes something, EOFError at its end.
        """
        buffer = self._buffer
        while count:
            at = 0
            while count and len(buffer) - at >= FRAME_HEAD.size:
                kind, channel, size = FRAME_HEAD.unpack_from(buffer, at)
                if len(buffer) - at < FRAME_HEAD.size + size + 1:
                    break
                payload = bytes(buffer[at + FRAME_HEAD.size : at + FRAME_HEAD.size + size])
                at += FRAME_HEAD.size + size + 1
                if kind != FRAME_METHOD:
                    continue
                if int.from_bytes(payload[:4]) in _CLOSES:
                    raise RuntimeError(f"closed by the server: {payload!r}")
                count -= 1
                if seen is not None:
                    seen(channel, payload)
            del buffer[:at]
            if count:
                data = self._socket.recv(1 << 18)
                if not data:
                    raise EOFError("the server has closed the connection")
                buffer += data

    def call(self, method: Method, channel: int = 1) -> None:
        """One question and its answer."""
        self.tell(channel, method)
        self.answers(1)

    def call_all(self, methods: Iterable[Method]) -> None:
        """Many questions, one at a time on each channel, all channels at once."""
        waiting = iter(methods)
        asked = 0

        def ask(channel: int, _: bytes = b"") -> None:
            nonlocal asked
            method = next(waiting, None)
            if method is not None:
                asked += 1
                self.tell(channel, method)

        for channel in range(1, self.channels + 1):
            ask(channel)
        answered = 0
        while answered < asked:
            now = asked - answered
            self.answers(now, ask)
            answered += now


def call_spread(wires: Sequence[Wire], methods: Sequence[Method]) -> None:
    """`call_on_all`, each connection with as many of these as any other."""
    call_on_all(wires, [methods[part :: len(wires)] for part in range(len(wires))])


def call_on_all(wires: Sequence[Wire], parts: Sequence[Sequence[Method]]) -> None:
    """`call_all` on several connections at once, from one thread each."""
    with ThreadPoolExecutor(len(wires)) as pool:
        for done in [pool.submit(wire.call_all, part) for wire, part in zip(wires, parts, strict=True)]:
            done.result()
