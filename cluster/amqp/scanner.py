"""The two hot runs of a busy connection, publishes and single acks, read without making a method.

Law: a scan takes only what is complete and entirely in order, and stops at the first octet that is not; the
careful path then says what is wrong with it. It never raises and never consumes part of a message.

Publishers repeat themselves, so three shortcuts are tried in turn: the octets up to the body are those of the
message before (one comparison); the method frame is; the method payload was seen on this connection.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cluster.amqp.constants import FRAME_END
from cluster.amqp.pieces import Octets

METHOD_HEAD: Final = Struct(">BHII")
"""Type, channel, size, class and method id."""
_CONTENT_HEAD: Final = Struct(">BHIIQ")
"""Type, channel, size, class and weight, body size."""
_BODY_HEAD: Final = Struct(">BHI")
_ACK: Final = Struct(">11sQ2s")
"""A basic.ack frame: head and ids, delivery tag, multiple and end octet."""

PUBLISH_KEY: Final = 0x003C0028
ACK_KEY: Final = 0x003C0050
BASIC_CLASS_WEIGHT_0: Final = 0x003C0000
ACK_FRAME_SIZE: Final = 21
CONTENT_HEADER_SIZE_MIN: Final = 14
"""Class, weight, body size, one word of property flags."""
KNOWN_METHODS_MAX: Final = 256
"""Publish payloads remembered by a connection; when there are more, the memory starts anew."""
_NO_PREAMBLE: Final = b"\xff" * 8
"""Matches no frame: no frame type is 255."""


def publish_is_well_formed(payload: bytes) -> bool:
    """Whether BasicPublish.decode(payload) would succeed, at a tenth of its cost."""
    size = len(payload)
    if size < 9:
        return False
    key_at = 7 + payload[6]
    if key_at >= size or key_at + 2 + payload[key_at] != size:
        return False
    if payload.isascii():
        return True
    try:
        payload[7:key_at].decode()
        payload[key_at + 1 : size - 1].decode()
    except UnicodeDecodeError:
        return False
    return True


class Scanner:
    """One connection's memory of what its publishers repeat.

    `payload_size_max` bounds a frame's payload, `body_size_max` a body in one frame; both are octets.
    """

    __slots__ = (
        "_body_size",
        "_header",
        "_known",
        "_method",
        "_method_frame",
        "_preamble",
        "_preamble_method",
        "body_size_max",
        "payload_size_max",
    )

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}
        self.set_limits(0, 0)

    def set_limits(self, frame_max: int, message_size_max: int) -> None:
        """`frame_max` as in `ServerConnection`. Forgets everything: what was accepted under other limits proves nothing
        under these."""
        self.payload_size_max = frame_max
        self.body_size_max = min(self.payload_size_max, message_size_max)
        self._known.clear()
        self._preamble = self._method_frame = _NO_PREAMBLE
        self._method = self._preamble_method = self._header = b""
        self._body_size = 0

    def intern(self, payload: bytes) -> bytes | None:
        """The object that stands for this publish payload; None if the payload is malformed."""
        known = self._known.get(payload)
        if known is None:
            if not publish_is_well_formed(payload):
                return None
            if len(self._known) >= KNOWN_METHODS_MAX:
                self._known.clear()
            self._known[payload] = known = payload
        return known

    def publishes(
        self,
        buffer: bytes,
        position: int,
        channel: int,
        methods: list[bytes],
        headers: list[bytes],
        bodies: list[Octets],
    ) -> int:
        """Append every complete publish of `channel` that stands at `position`; the position after them."""
        end = len(buffer)
        preamble, preamble_size, body_size = self._preamble, len(self._preamble), self._body_size
        method, header = self._preamble_method, self._header
        payload_size_max, body_size_max = self.payload_size_max, self.body_size_max
        while True:
            if buffer.startswith(preamble, position):
                # A preamble holds its channel's number, so it can only match on that channel.
                start = position + preamble_size
                stop = start + body_size
                if stop >= end or buffer[stop] != FRAME_END:
                    break
                methods.append(method)
                headers.append(header)
                bodies.append(buffer[start:stop])
                position = stop + 1
                continue
            if buffer.startswith(self._method_frame, position):
                head = position + len(self._method_frame)
                method = self._method
            else:
                if end - position < 11:
                    break
                kind, on_channel, size, key = METHOD_HEAD.unpack_from(buffer, position)
                head = position + 8 + size
                if (
                    key != PUBLISH_KEY
                    or on_channel != channel
                    or kind != 1
                    or head > end
                    or buffer[head - 1] != FRAME_END
                ):
                    break
                known = self.intern(buffer[position + 7 : head - 1])
                if known is None:
                    break
                self._method = method = known
                self._method_frame = buffer[position:head]
            if end - head < 19:
                break
            kind, on_channel, size, class_weight, body_size = _CONTENT_HEAD.unpack_from(buffer, head)
            stop = head + 7 + size
            if (
                on_channel != channel
                or kind != 2
                or class_weight != BASIC_CLASS_WEIGHT_0
                or not CONTENT_HEADER_SIZE_MIN <= size <= payload_size_max
                or body_size > body_size_max
                or stop >= end
                or buffer[stop] != FRAME_END
            ):
                break
            header = buffer[head + 7 : stop]
            start = stop
            if body_size:
                # Without a body the header's own end octet is what the preamble stops at.
                start = stop + 8
                if start > end:
                    break
                kind, on_channel, size = _BODY_HEAD.unpack_from(buffer, stop + 1)
                stop = start + body_size
                if size != body_size or kind != 3 or on_channel != channel or stop >= end or buffer[stop] != FRAME_END:
                    break
            methods.append(method)
            headers.append(header)
            bodies.append(buffer[start:stop])
            self._preamble = preamble = buffer[position:start]
            preamble_size = start - position
            self._body_size, self._header, self._preamble_method = body_size, header, method
            position = stop + 1
        return position


def single_acks(buffer: bytes, position: int, channel: int, tags: list[int]) -> int:
    """Append the tags of every complete basic.ack of `channel` with multiple=false; the position after them."""
    count = (len(buffer) - position) // ACK_FRAME_SIZE
    head = METHOD_HEAD.pack(1, channel, 13, ACK_KEY)
    run = memoryview(buffer)[position : position + count * ACK_FRAME_SIZE]
    found = len(tags)
    for seen, tag, tail in _ACK.iter_unpack(run):
        if seen != head or tail != b"\x00\xce":
            break
        tags.append(tag)
    return position + (len(tags) - found) * ACK_FRAME_SIZE
