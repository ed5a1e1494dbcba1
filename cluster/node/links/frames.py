"""Frames: how messages lie on the wire of a link.

Law: a frame is u32 length, u8 kind, body; the length counts kind and body. A body is one msgpack value, but
for fragments: a body longer than the frame limit goes as FRAGMENT frames with raw pieces of it, then a
LAST_FRAGMENT whose first byte is the real kind. Fragments of one message follow each other in their lane;
only whole control messages, never fragmented, may stand between them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgpack

from cluster.amqp.pieces import Pieces
from cluster.node.links.interface import Body, ProtocolViolation

HELLO: Final = 240
CHALLENGE: Final = 241
PROOF: Final = 242
WELCOME: Final = 243
REFUSED: Final = 244
DESCRIPTION: Final = 245
PETITION: Final = 246
REQUEST: Final = 250
RESPONSE: Final = 251
REQUEST_FAILED: Final = 252
PING: Final = 253
FRAGMENT: Final = 254
LAST_FRAGMENT: Final = 255

_msgpack: Any = msgpack
"""The package carries no types."""
_HEADER: Final = struct.Struct(">IB")
_BIN_HEAD: Final = struct.Struct(">BI")
_BIN_32: Final = 0xC6
"""msgpack's byte string with a length of 32 bits."""
_JOIN_BYTES_MAX: Final = 16 << 10
"""Up to this size header and body are joined: one more copy is cheaper than one more buffer in a sendmsg."""

_LARGE_BYTES: Final = 64 << 10
"""Byte strings from here on are not copied into a body but stand in it as they are."""

Buffer = bytes | memoryview
Frame = tuple[Buffer, ...]
"""The buffers of one frame, in order; frames are the units between which another lane may cut in."""


def pack_body(body: Body) -> bytes:
    """Raises TypeError or ValueError for what msgpack cannot carry."""
    packed: bytes = _msgpack.packb(body, use_bin_type=True)
    return packed


def unpack_body(data: Buffer | bytearray) -> Body:
    """Raises ProtocolViolation for anything but exactly one msgpack value."""
    try:
        return _msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise ProtocolViolation(f"bad frame body: {error}") from None


class Packer:
    """Packs bodies one after the other into one kept buffer, which costs less than a new one each time.

    Large byte strings are not copied: a message of megabytes would hold up everybody else.
    """

    __slots__ = ("_packer",)

    def __init__(self) -> None:
        self._packer = _msgpack.Packer(use_bin_type=True)

    def pack(self, body: Body) -> list[Buffer]:
        """The pieces of it, in order. Raises TypeError or ValueError for what msgpack cannot carry."""
        if not _has_large(body):
            return [self._packer.pack(body)]
        pieces: list[Buffer] = []
        small = bytearray()
        self._split(body, pieces, small)
        if small:
            pieces.append(bytes(small))
        return pieces

    def _split(self, value: Body, pieces: list[Buffer], small: bytearray) -> None:
        """What lies between two large byte strings is one piece, gathered in `small`."""
        kind = type(value)
        if kind is memoryview or kind is Pieces or (kind is bytes and len(value) >= _LARGE_BYTES):
            small += _BIN_HEAD.pack(_BIN_32, len(value))
            pieces.append(bytes(small))
            pieces += value.parts if kind is Pieces else (value,)
            small.clear()
        elif isinstance(value, list | tuple) and _has_large(value):
            small += self._packer.pack_array_header(len(value))
            for item in value:
                self._split(item, pieces, small)
        else:
            small += self._packer.pack(value)


def _has_large(value: Body) -> bool:
    """Is there a large byte string in it, or in lists in it? A view counts as one, and so do pieces."""
    kind = type(value)
    if kind is bytes:
        return len(value) >= _LARGE_BYTES
    if kind is list or kind is tuple:
        for item in value:
            kind = type(item)
            if kind is bytes:
                if len(item) >= _LARGE_BYTES:
                    return True
            elif (kind is list or kind is tuple or kind is memoryview or kind is Pieces) and _has_large(item):
                return True
        return False
    return kind is memoryview or kind is Pieces


def encode_frame(kind: int, packed: Buffer) -> Frame:
    return _frame(kind, [packed], len(packed))


def _frame(kind: int, pieces: Sequence[Buffer], size: int) -> Frame:
    header = _HEADER.pack(size + 1, kind)
    if size <= _JOIN_BYTES_MAX:
        return (b"".join((header, *pieces)),)
    return (header, *pieces)


def encode_message(kind: int, pieces: Sequence[Buffer], frame_bytes_max: int) -> list[Frame]:
    """One frame, or the fragments of a body longer than `frame_bytes_max`."""
    size = sum(map(len, pieces))
    if size <= frame_bytes_max:
        return [_frame(kind, pieces, size)]
    *most, last = _cut(pieces, frame_bytes_max)
    frames = [_frame(FRAGMENT, part, frame_bytes_max) for part in most]
    frames.append(_frame(LAST_FRAGMENT, [bytes((kind,)), *last], size - len(most) * frame_bytes_max + 1))
    return frames


def _cut(pieces: Sequence[Buffer], size: int) -> Iterator[list[Buffer]]:
    """Parts of `size` bytes; the last is what is left, which is never nothing."""
    part: list[Buffer] = []
    room = size
    for piece in pieces:
        view = memoryview(piece)
        while len(view) > room:
            yield [*part, view[:room]]
            view = view[room:]
            part, room = [], size
        part.append(view)
        room -= len(view)
    yield part


class FrameReader:
    """Bytes in, messages out. Keeps at most one unfinished frame and one unfinished fragmented message."""

    __slots__ = ("_fragments", "_frame_bytes_max", "_message_bytes_max", "_rest", "_wanted")

    def __init__(self, *, frame_bytes_max: int, message_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max + 2
        self._message_bytes_max = message_bytes_max
        self._rest = bytearray()
        self._wanted = 0
        """Bytes `_rest` must hold before another look at it can yield anything."""
        self._fragments = bytearray()

    @property
    def is_between_messages(self) -> bool:
        return not self._rest and not self._fragments

    def feed(self, data: bytes) -> list[tuple[int, Body]]:
        """Every message that `data` completes, as (kind, body). Raises ProtocolViolation."""
        rest = self._rest
        if not rest:
            messages, end = self._parse(data)
            if end < len(data):
                rest += memoryview(data)[end:]
            return messages
        rest += data
        if len(rest) < self._wanted:
            return []
        messages, end = self._parse(rest)
        del rest[:end]
        return messages

    def _parse(self, data: bytes | bytearray) -> tuple[list[tuple[int, Body]], int]:
        messages: list[tuple[int, Body]] = []
        position = 0
        size = len(data)
        with memoryview(data) as view:
            while size - position >= 5:
                length, kind = _HEADER.unpack_from(data, position)
                if not 1 <= length <= self._frame_bytes_max:
                    raise ProtocolViolation(f"frame of {length} bytes, allowed are {self._frame_bytes_max}")
                end = position + 4 + length
                if end > size:
                    self._wanted = end - position
                    return messages, position
                with view[position + 5 : end] as body:
                    if kind >= FRAGMENT:
                        self._fragment(kind, body, messages)
                    else:
                        if length > self._message_bytes_max:
                            raise ProtocolViolation(f"message of {length} bytes")
                        messages.append((kind, unpack_body(body)))
                position = end
        self._wanted = 5
        return messages, position

    def _fragment(self, kind: int, body: memoryview, messages: list[tuple[int, Body]]) -> None:
        fragments = self._fragments
        if len(fragments) + len(body) > self._message_bytes_max + 1:
            raise ProtocolViolation(f"fragmented message over {self._message_bytes_max} bytes")
        if kind == FRAGMENT:
            fragments += body
            return
        if not body or body[0] >= FRAGMENT:
            raise ProtocolViolation("last fragment names no message kind")
        real_kind = body[0]
        fragments += body[1:]
        self._fragments = bytearray()
        messages.append((real_kind, unpack_body(fragments)))


def frame_size(frame: Iterable[Buffer]) -> int:
    """Wire bytes of a frame."""
    return sum(map(len, frame))
