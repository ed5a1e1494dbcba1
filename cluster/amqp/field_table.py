"""Field tables: the typed dictionaries in method arguments, properties and headers.

Law: a value remembers its AMQP type. Decoding and encoding again gives the same octets, except for a table
that names a key twice (the first one counts, as it does for RabbitMQ), a bool octet other than 0 or 1, and the spare
bits of a NaN. Letters mean what RabbitMQ means by them (https://www.rabbitmq.com/amqp-0-9-1-errata.html §3), which is
not what the specification's grammar says.

    letter  RabbitMQ's name   Python              letter  RabbitMQ's name   Python
    t       bool              bool                d       double            float
    b       byte              Int8                f       float             Float32
    B       unsignedbyte      UInt8               D       decimal           decimal.Decimal
    s       short             Int16               S       longstr           str; bytes if it is not UTF-8
    u       unsignedshort     UInt16              x       binary            Binary
    I       signedint         int                 T       timestamp         Timestamp (seconds)
    i       unsignedint       UInt32              A       array             list
    l       long              Int64               F       table             dict
    L       (as l)            SpecInt64           V       void              None

A plain int is written as I when it fits 32 bits and as l otherwise. The wrappers are subclasses of int, float
and bytes, so that comparison and arithmetic ignore the width, as RabbitMQ's argument equivalence does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, TypeAlias, Union

FIELD_DEPTH_MAX: Final = 64
"""Tables and arrays may nest this deep. Deeper input is malformed; deeper output is a ValueError."""
TABLE_SIZE_MAX: Final = 16 * 1024 * 1024
"""Octets of one encoded table or array. Larger input is malformed; larger output is a ValueError."""


class Malformed(ValueError):
    """These octets are not what they should be. Callers turn it into the close that fits."""


class MalformedUtf8(Malformed):
    """A shortstr is not UTF-8."""


class Int8(int):
    """Letter b."""


class UInt8(int):
    """Letter B."""


class Int16(int):
    """Letter s."""


class UInt16(int):
    """Letter u."""


class UInt32(int):
    """Letter i."""


class Int64(int):
    """Letter l."""


class SpecInt64(int):
    """Written with the letter L, the specification's signed 64 bit integer, by clients that follow it."""


class Timestamp(int):
    """Seconds since 1970 UTC, unsigned 64 bit."""


class Float32(float):
    """Letter f."""


class Binary(bytes):
    """A byte array (x), as opposed to a longstr (S) that happens not to be UTF-8, which is plain bytes."""


FieldValue: TypeAlias = Union[bool, int, float, str, bytes, Decimal, "list[FieldValue]", "dict[str, FieldValue]", None]
FieldTable: TypeAlias = "dict[str, FieldValue]"


_INTEGERS: Final[tuple[tuple[bytes, str, type[int], str], ...]] = (
    (b"b", ">b", Int8, "byte"),
    (b"B", ">B", UInt8, "unsignedbyte"),
    (b"s", ">h", Int16, "short"),
    (b"u", ">H", UInt16, "unsignedshort"),
    (b"i", ">I", UInt32, "unsignedint"),
    (b"l", ">q", Int64, "long"),
    (b"L", ">q", SpecInt64, "long"),
    (b"T", ">Q", Timestamp, "timestamp"),
)
"""Letter, layout, Python type and RabbitMQ's name."""
_INT_FORMS: Final = {cls: (letter, struct.Struct(form)) for letter, form, cls, _ in _INTEGERS}
_INT_LETTERS: Final = {letter[0]: (struct.Struct(form), cls) for letter, form, cls, _ in _INTEGERS}
_TYPE_NAMES: Final[dict[type, str]] = {cls: name for _, _, cls, name in _INTEGERS} | {
    bool: "bool",
    float: "double",
    Float32: "float",
    Decimal: "decimal",
    str: "longstr",
    bytes: "longstr",
    Binary: "binary",
    list: "array",
    dict: "table",
    type(None): "void",
}
_LONG: Final = struct.Struct(">I")
_SIGNED_LONG: Final = struct.Struct(">i")
_SIGNED_LONG_LONG: Final = struct.Struct(">q")
_DOUBLE: Final = struct.Struct(">d")
_FLOAT: Final = struct.Struct(">f")
_DECIMAL: Final = struct.Struct(">Bi")
_INT32: Final = range(-(2**31), 2**31)


def type_name(value: FieldValue) -> str:
    """RabbitMQ's word for the value's AMQP type, as in `received the value '5' of type 'signedint'`."""
    if type(value) is int:
        return "signedint" if value in _INT32 else "long"
    return _TYPE_NAMES[type(value)]


def read_table(buffer: bytes, position: int) -> tuple[FieldTable, int]:
    """The table whose length field stands at `position`, and the position after it. Raises Malformed."""
    try:
        return _read_table(buffer, position, FIELD_DEPTH_MAX)
    except (IndexError, struct.error) as error:
        raise Malformed("field table is cut short") from error


def _span(buffer: bytes, position: int) -> tuple[int, int]:
    (size,) = _LONG.unpack_from(buffer, position)
    end = position + 4 + size
    if end > len(buffer) or size > TABLE_SIZE_MAX:
        raise Malformed("field value is longer than what holds it")
    return position + 4, end


def _read_table(buffer: bytes, position: int, depth: int) -> tuple[FieldTable, int]:
    position, end = _span(buffer, position)
    table: FieldTable = {}
    while position < end:
        start = position + 1
        position = start + buffer[position]
        if position >= end:
            raise Malformed("field name is longer than its table")
        try:
            name = buffer[start:position].decode()
        except UnicodeDecodeError as error:
            raise Malformed("field name is not UTF-8") from error
        value, position = _read_value(buffer, position, depth)
        if name not in table:
            table[name] = value
    if position != end:
        raise Malformed("field value runs over the end of its table")
    return table, end


def _read_array(buffer: bytes, position: int, depth: int) -> tuple[list[FieldValue], int]:
    position, end = _span(buffer, position)
    values: list[FieldValue] = []
    while position < end:
        value, position = _read_value(buffer, position, depth)
        values.append(value)
    if position != end:
        raise Malformed("field value runs over the end of its array")
    return values, end


def _read_value(buffer: bytes, position: int, depth: int) -> tuple[FieldValue, int]:
    letter = buffer[position]
    position += 1
    if letter == 0x53:  # S
        start, end = _span(buffer, position)
        raw = buffer[start:end]
        try:
            return raw.decode(), end
        except UnicodeDecodeError:
            return raw, end
    if letter == 0x49:  # I
        return _SIGNED_LONG.unpack_from(buffer, position)[0], position + 4
    if letter in _INT_LETTERS:
        form, cls = _INT_LETTERS[letter]
        return cls(form.unpack_from(buffer, position)[0]), position + form.size
    match letter:
        case 0x74:  # t
            return buffer[position] != 0, position + 1
        case 0x64:  # d
            return _DOUBLE.unpack_from(buffer, position)[0], position + 8
        case 0x66:  # f
            return Float32(_FLOAT.unpack_from(buffer, position)[0]), position + 4
        case 0x44:  # D
            scale, unscaled = _DECIMAL.unpack_from(buffer, position)
            digits = tuple(int(digit) for digit in str(abs(unscaled)))
            return Decimal((int(unscaled < 0), digits, -scale)), position + 5
        case 0x78:  # x
            start, end = _span(buffer, position)
            return Binary(buffer[start:end]), end
        case 0x56:  # V
            return None, position
        case 0x46 | 0x41:  # F, A
            if depth <= 1:
                raise Malformed("field values nest too deep")
            read: Callable[[bytes, int, int], tuple[FieldValue, int]] = _read_table if letter == 0x46 else _read_array
            return read(buffer, position, depth - 1)
    raise Malformed(f"field type {letter} is unknown")


def encode_table(table: Mapping[str, FieldValue]) -> bytes:
    """The table with its length field. Raises ValueError on what no AMQP type can hold."""
    try:
        return _encode_table(table, FIELD_DEPTH_MAX)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"value out of range in a field table: {error}") from error


def _sized(raw: bytes) -> bytes:
    if len(raw) > TABLE_SIZE_MAX:
        raise ValueError(f"a field value of {len(raw)} octets is above the limit of {TABLE_SIZE_MAX}")
    return _LONG.pack(len(raw)) + raw


def _encode_table(table: Mapping[str, FieldValue], depth: int) -> bytes:
    parts: list[bytes] = []
    for name, value in table.items():
        raw_name = name.encode()
        if len(raw_name) > 255:
            raise ValueError("a field name is longer than 255 octets")
        parts.append(bytes((len(raw_name),)) + raw_name)
        parts.append(_encode_value(value, depth))
    return _sized(b"".join(parts))


def _encode_value(value: FieldValue, depth: int) -> bytes:
    cls = type(value)
    if isinstance(value, str):
        return b"S" + _sized(value.encode())
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int):
        if cls in _INT_FORMS:
            letter, form = _INT_FORMS[cls]
            return letter + form.pack(value)
        if value in _INT32:
            return b"I" + _SIGNED_LONG.pack(value)
        return b"l" + _SIGNED_LONG_LONG.pack(value)
    if isinstance(value, float):
        return b"f" + _FLOAT.pack(value) if cls is Float32 else b"d" + _DOUBLE.pack(value)
    if isinstance(value, bytes):
        return (b"x" if cls is Binary else b"S") + _sized(value)
    if value is None:
        return b"V"
    if isinstance(value, Decimal):
        return b"D" + _encode_decimal(value)
    if depth <= 1:
        raise ValueError(f"field values nest deeper than {FIELD_DEPTH_MAX}")
    if isinstance(value, list):
        return b"A" + _sized(b"".join([_encode_value(item, depth - 1) for item in value]))
    return b"F" + _encode_table(value, depth - 1)


def _encode_decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):  # NaN or infinite
        raise ValueError(f"{value} has no AMQP decimal")  # noqa: TRY004
    unscaled = int("".join(map(str, digits)) or "0")
    if exponent > 0:
        if exponent > 10:
            raise ValueError(f"{value} has no AMQP decimal")
        unscaled, exponent = unscaled * 10**exponent, 0
    return _DECIMAL.pack(-exponent, -unscaled if sign else unscaled)
