"""When two AMQP values are the same to the broker.

Law: RabbitMQ compares arguments of one class only. All integer types are one class, float and double another; every
other type stands alone. Inside tables and arrays the types must be equal. A header and what a binding asks for are
compared without their types: numbers by what they amount to, strings and byte arrays by their octets, and what is
empty as empty.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from decimal import Decimal
from typing import TypeAlias

from cluster.amqp.field_table import Binary, FieldValue, Timestamp, type_name

Comparable: TypeAlias = tuple[str, Hashable]
"""(class, value): hashable, and equal exactly when RabbitMQ holds the values for equal."""


def comparable(value: FieldValue) -> Comparable:
    """What stands for `value` in comparisons."""
    if isinstance(value, str):
        return "longstr", value
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return ("timestamp" if type(value) is Timestamp else "int"), int(value)
    if isinstance(value, float):
        return "float", float(value)
    if isinstance(value, bytes):
        return ("binary" if type(value) is Binary else "longstr"), bytes(value)
    if isinstance(value, Decimal):
        return "decimal", value.as_tuple()
    if value is None:
        return "void", None
    if isinstance(value, list):
        return "array", tuple([(type_name(item), comparable(item)) for item in value])
    return "table", tuple([(name, type_name(value[name]), comparable(value[name])) for name in sorted(value)])


def header_value(value: FieldValue) -> Comparable:
    """What stands for a header's value, or for what a binding asks of it."""
    kind, plain = comparable(value)
    if kind in {"int", "float", "timestamp"}:
        return "number", plain
    if plain == ():
        return "empty", ()
    if isinstance(plain, bytes):
        with suppress(UnicodeDecodeError):
            return "longstr", plain.decode()
        return "longstr", plain
    return kind, plain
