"""Records: a message as it is stored, and as it travels between nodes.

Law: a record is

    envelope_size u16 | header_size u32 | envelope | content header payload | body

The envelope is the exchange and the routing key as short strings, exactly as a publish carries them and a
deliver wants them, so neither is ever taken apart on the way. The body's size is what remains of the record. Records
stand back to back in a blob, and their sizes come beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from cluster.amqp.field_table import Malformed
from cluster.amqp.wire import read_shortstr

RECORD_HEAD: Final = Struct(">HI")
"""Sizes of the envelope and of the content header."""
RECORD_HEAD_SIZE: Final = RECORD_HEAD.size


def encode_record(method_payload: bytes, header_payload: bytes, body: bytes) -> bytes:
    """The record of a publish: payload of its basic.publish frame (well-formed), of its header frame, and body."""
    envelope = method_payload[6:-1]
    return b"".join((RECORD_HEAD.pack(len(envelope), len(header_payload)), envelope, header_payload, body))


@dataclass(slots=True)
class Record:
    """A record taken apart. `envelope` is what encode_record cut from the publish."""

    envelope: bytes
    header: bytes
    body: bytes

    @classmethod
    def decode(cls, blob: bytes | memoryview, offset: int = 0, size: int | None = None) -> Record:
        """The record at `offset`, `size` octets long (the rest of the blob if None). Raises Malformed."""
        end = len(blob) if size is None else offset + size
        if end - offset < RECORD_HEAD_SIZE or end > len(blob):
            raise Malformed("record is cut short")
        envelope_size, header_size = RECORD_HEAD.unpack_from(blob, offset)
        envelope_at = offset + RECORD_HEAD_SIZE
        header_at = envelope_at + envelope_size
        body_at = header_at + header_size
        if body_at > end:
            raise Malformed("record is cut short")
        return cls(bytes(blob[envelope_at:header_at]), bytes(blob[header_at:body_at]), bytes(blob[body_at:end]))

    def encode(self) -> bytes:
        head = RECORD_HEAD.pack(len(self.envelope), len(self.header))
        return b"".join((head, self.envelope, self.header, self.body))

    def address(self) -> tuple[str, str]:
        """Exchange and routing key. Raises Malformed, IndexError."""
        exchange, end = read_shortstr(self.envelope, 0)
        routing_key, _ = read_shortstr(self.envelope, end)
        return exchange, routing_key
