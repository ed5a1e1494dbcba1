"""Stored messages to basic.deliver frames, and publishes to stored messages. Hot: once per delivery.

Law: records (see `record`) go to the socket as they are: of one, its head is read and nothing else. What records of the
same shape have in common is made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from cluster.amqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD
from cluster.amqp.field_table import Malformed
from cluster.amqp.frames import END, FRAME_HEAD, LARGE_SIZE_MIN, body_frames
from cluster.amqp.record import RECORD_HEAD, RECORD_HEAD_SIZE
from cluster.amqp.wire import encode_shortstr

_TAG: Final = Struct(">QB")
_DELIVER_IDS: Final = b"\x00\x3c\x00\x3c"
_CHUNK_SIZE_TARGET: Final = 256 * 1024
"""Frames are joined into pieces of about this many octets for the socket."""
_COPY_SIZE_MAX: Final = 4096
"""Average record size up to which copying a slice is cheaper than a view of it."""
_SHAPES_MAX: Final = 64
"""Shapes of record an encoder remembers; when there are more, the memory starts anew."""


class _Shape:
    """What records of one envelope, header size and body size have in common on one channel.

    `prefix` stands before the delivery tag, `after_tag` before the header, `after_header` before the body and
    the end octet. `one_frame` says that the body fits a single frame; else `after_header` is not used.
    """

    __slots__ = ("after_header", "after_tag", "body_at", "head", "one_frame", "prefix")

    def __init__(self, head: bytes, size: int, channel: int, ids_and_tag: bytes, frame_max: int) -> None:
        envelope_size, header_size = RECORD_HEAD.unpack_from(head)
        self.head = head
        self.body_at = len(head) + header_size
        body_size = size - self.body_at
        if body_size < 0:
            raise Malformed("record is cut short")
        method_size = len(ids_and_tag) + _TAG.size + envelope_size
        self.prefix = FRAME_HEAD.pack(FRAME_METHOD, channel, method_size) + ids_and_tag
        self.after_tag = head[RECORD_HEAD_SIZE:] + END + FRAME_HEAD.pack(FRAME_HEADER, channel, header_size)
        self.after_header = END + FRAME_HEAD.pack(FRAME_BODY, channel, body_size) if body_size else b""
        self.one_frame = body_size <= frame_max - FRAME_OVERHEAD


class DeliveryEncoder:
    """Deliveries of one consumer. `frame_max` is the connection's, in octets.

    Messages of a queue resemble each other, so what a shape of record has in common is made once.
    """

    __slots__ = ("_channel", "_frame_max", "_ids_and_tag", "_shapes")

    def __init__(self, channel: int, consumer_tag: str, frame_max: int) -> None:
        self._channel = channel
        self._ids_and_tag = _DELIVER_IDS + encode_shortstr(consumer_tag)
        self._frame_max = frame_max
        self._shapes: dict[tuple[bytes, int], _Shape] = {}

    def encode(
        self,
        out: list[bytes | memoryview],
        first_delivery_tag: int,
        redelivered: Sequence[bool] | bool,
        blob: bytes | memoryview,
        sizes: Sequence[int],
        offset: int = 0,
    ) -> int:
        """Append frames that deliver the records of `sizes` octets each, standing at `offset` in `blob`.

        They get consecutive delivery tags. `redelivered` is one flag for all or one for each. Returns the
        number of octets appended. Records are the broker's own: ValueError if `blob` is shorter than `sizes`
        say or a record than its own head says.
        """
        run_size = sum(sizes)
        if offset + run_size > len(blob):
            raise ValueError("the blob is shorter than its records")
        flags = (redelivered,) * len(sizes) if isinstance(redelivered, bool) else redelivered
        if run_size > _COPY_SIZE_MAX * len(sizes):
            blob = memoryview(blob)
        elif not isinstance(blob, bytes):
            blob = bytes(blob[offset : offset + run_size])
            offset = 0
        pieces: list[bytes | memoryview] = []
        pack = _TAG.pack
        head, size_before = b"", -1
        tag = first_delivery_tag
        header_at = body_at = total = pending = 0
        prefix = after_tag = after_header = b""
        one_frame = True
        for size, flag in zip(sizes, flags, strict=True):
            if size != size_before or blob[offset : offset + header_at] != head:
                shape = self._shape(blob, offset, size)
                head, size_before, body_at, one_frame = shape.head, size, shape.body_at, shape.one_frame
                prefix, after_tag, after_header = shape.prefix, shape.after_tag, shape.after_header
                header_at = len(head)
            body_start = offset + body_at
            end = offset + size
            header = blob[offset + header_at : body_start]
            if size >= LARGE_SIZE_MIN:
                pieces += (prefix, pack(tag, flag), after_tag, header, END)
                frames = [b"".join(pieces), *body_frames(self._channel, blob[body_start:end], self._frame_max)]
                out += frames
                total += sum(map(len, frames))
                pieces.clear()
                pending = -size  # which is added below
            elif one_frame:
                pieces += (prefix, pack(tag, flag), after_tag, header, after_header, blob[body_start:end], END)
            else:
                pieces += (prefix, pack(tag, flag), after_tag, header, END)
                pieces += body_frames(self._channel, blob[body_start:end], self._frame_max)
            tag += 1
            offset = end
            pending += size
            if pending >= _CHUNK_SIZE_TARGET:
                out.append(b"".join(pieces))
                total += len(out[-1])
                pieces.clear()
                pending = 0
        if pieces:
            out.append(b"".join(pieces))
            total += len(out[-1])
        return total

    def _shape(self, blob: bytes | memoryview, offset: int, size: int) -> _Shape:
        """The shape of the record at `offset`. Raises Malformed."""
        if size < RECORD_HEAD_SIZE:
            raise Malformed("record is cut short")
        header_at = offset + RECORD_HEAD_SIZE + (blob[offset] << 8 | blob[offset + 1])
        head = bytes(blob[offset:header_at])
        shape = self._shapes.get((head, size))
        if shape is None:
            if len(self._shapes) >= _SHAPES_MAX:
                self._shapes.clear()
            shape = _Shape(head, size, self._channel, self._ids_and_tag, self._frame_max)
            self._shapes[(head, size)] = shape
        return shape
