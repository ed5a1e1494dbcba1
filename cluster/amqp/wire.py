"""Short strings and octets as they stand in method arguments, and how Erlang would print them.

Law: a reader takes a buffer and a position and returns the value and the position after it; it raises
`Malformed`, IndexError or struct.error when the buffer ends too soon, and never looks beyond it.
"""

from __future__ import annotations

from typing import Final

from cluster.amqp.field_table import Malformed, MalformedUtf8

SHORTSTR_SIZE_MAX: Final = 255


def read_shortstr(buffer: bytes, position: int) -> tuple[str, int]:
    """A string of at most 255 octets of UTF-8. Raises MalformedUtf8, Malformed, IndexError."""
    start = position + 1
    end = start + buffer[position]
    if end > len(buffer):
        raise Malformed("short string is cut short")
    try:
        return buffer[start:end].decode(), end
    except UnicodeDecodeError as error:
        raise MalformedUtf8("short string is not UTF-8") from error


def encode_shortstr(text: str) -> bytes:
    """Raises ValueError above 255 octets."""
    raw = text.encode()
    if len(raw) > SHORTSTR_SIZE_MAX:
        raise ValueError(f"a short string of {len(raw)} octets is above the limit of {SHORTSTR_SIZE_MAX}")
    return bytes((len(raw),)) + raw


def read_longstr(buffer: bytes, position: int) -> tuple[bytes, int]:
    """Octets with a 32 bit length. Raises Malformed."""
    start = position + 4
    end = start + int.from_bytes(buffer[position:start])
    if start > len(buffer) or end > len(buffer):
        raise Malformed("long string is cut short")
    return buffer[start:end], end


def encode_longstr(raw: bytes) -> bytes:
    return len(raw).to_bytes(4) + raw


def erlang_octets(raw: bytes) -> str:
    """As Erlang's ~w prints a binary: `<<0,20,0,10>>`. Reply texts carry it."""
    return f"<<{','.join(map(str, raw))}>>"


def erlang_binary(raw: bytes) -> str:
    """As Erlang's ~p prints a binary: quoted when every octet is printable Latin-1, else as octets."""
    if raw and all(0x20 <= octet < 0x7F or octet >= 0xA0 or 0x08 <= octet <= 0x0D or octet == 0x1B for octet in raw):
        escapes = {
            ord('"'): '\\"', ord("\\"): "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r",
            27: "\\e",
        }  # fmt: skip
        return f'<<"{raw.decode("latin-1").translate(escapes)}">>'
    return erlang_octets(raw)


def payload_snippet(payload: bytes) -> str:
    """How RabbitMQ names a frame's payload in a reply text: all of it up to 16 octets, else the first 16."""
    scope = "all" if len(payload) <= 16 else "first 16"
    return f"{scope} octets = {erlang_binary(payload[:16])}"
