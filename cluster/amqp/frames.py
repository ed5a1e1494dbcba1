"""Frames going out: type, channel, size, payload, end octet (AMQP 0-9-1 §4.2.3).

Law: functions from payloads to octets. A frame never exceeds the frame_max it is told; a body is cut into as
many frames as that takes, and an empty body into none.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cluster.amqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD

FRAME_HEAD: Final = Struct(">BHI")
"""Type, channel, payload size."""
END: Final = b"\xce"
LARGE_SIZE_MIN: Final = 64 * 1024
"""A body from here on is not copied: what goes out are views of it."""


def method_frame(channel: int, payload: bytes) -> bytes:
    return FRAME_HEAD.pack(FRAME_METHOD, channel, len(payload)) + payload + END


def body_frames(channel: int, body: bytes | memoryview, frame_max: int) -> list[bytes | memoryview]:
    """Pieces whose concatenation is the body's frames; the body itself is not copied."""
    size = len(body)
    size_max = frame_max - FRAME_OVERHEAD
    if size == 0:
        return []
    if size <= size_max:
        return [FRAME_HEAD.pack(FRAME_BODY, channel, size), body, END]
    pieces: list[bytes | memoryview] = []
    view = memoryview(body)
    end = b""
    for start in range(0, size, size_max):
        piece = view[start : start + size_max]
        pieces += (end + FRAME_HEAD.pack(FRAME_BODY, channel, len(piece)), piece)
        end = END
    pieces.append(END)
    return pieces


def content_pieces(
    channel: int, method_payload: bytes, header_payload: bytes, body: bytes | memoryview, frame_max: int
) -> list[bytes | memoryview]:
    """A method with its content header and body: pieces whose concatenation is one run of frames."""
    pieces = [
        method_frame(channel, method_payload),
        FRAME_HEAD.pack(FRAME_HEADER, channel, len(header_payload)),
        header_payload,
        END,
        *body_frames(channel, body, frame_max),
    ]
    return pieces if len(body) >= LARGE_SIZE_MIN else [b"".join(pieces)]


def content_frames(
    channel: int, method_payload: bytes, header_payload: bytes, body: bytes | memoryview, frame_max: int
) -> bytes:
    """The same in one byte string."""
    return b"".join(content_pieces(channel, method_payload, header_payload, body, frame_max))
