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


def method_frame(channel: int, payload: bytes) -> bytes:
    return FRAME_HEAD.pack(FRAME_METHOD, channel, len(payload)) + payload + END


def body_frames(channel: int, body: bytes | memoryview, frame_max: int) -> list[bytes | memoryview]:
    """Pieces whose concatenation is the body's frames; the body itself is not copied if it is one frame."""
    size = len(body)
    size_max = frame_max - FRAME_OVERHEAD
    if size == 0:
        return []
    if size <= size_max:
        return [FRAME_HEAD.pack(FRAME_BODY, channel, size), body, END]
    pieces: list[bytes | memoryview] = []
    view = memoryview(body)
    for start in range(0, size, size_max):
        piece = view[start : start + size_max]
        pieces += (FRAME_HEAD.pack(FRAME_BODY, channel, len(piece)), piece, END)
    return pieces


def content_frames(
    channel: int, method_payload: bytes, header_payload: bytes, body: bytes | memoryview, frame_max: int
) -> bytes:
    """A method with its content header and body, as one run of frames."""
    return b"".join(
        (
            method_frame(channel, method_payload),
            FRAME_HEAD.pack(FRAME_HEADER, channel, len(header_payload)),
            header_payload,
            END,
            *body_frames(channel, body, frame_max),
        )
    )
