"""Declaration arguments: AMQP tables kept with their types, and how RabbitMQ speaks of them.

Law: two argument tables that say the same have the same canonical octets (names sorted, each once), so equality
and identity of bindings are equality of octets. Equal tables share one object: a hundred thousand queues with the
same arguments hold them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

from cluster.amqp.field_table import FieldValue, encode_table, read_table, type_name
from cluster.amqp.wire import erlang_binary
from cluster.broker.errors import BrokerError, precondition_failed
from cluster.broker.routing.values import comparable

_TABLES_CACHED_MAX: Final = 4096
"""Distinct argument tables kept decoded; beyond it the least recently used is decoded anew when it comes back."""


class Arguments:
    """A canonical table: `table` are its octets with the length field (b"" when empty), `values` what they say."""

    __slots__ = ("table", "values")

    def __init__(self, table: bytes, values: Mapping[str, FieldValue]) -> None:
        self.table = table
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arguments) and self.table == other.table

    def __hash__(self) -> int:
        return hash(self.table)

    def __repr__(self) -> str:
        return f"Arguments({dict(self.values)!r})"

    def text(self, name: str) -> str | None:
        """The argument if it is there and a string."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None


NO_ARGUMENTS: Final = Arguments(b"", {})


def arguments_of(values: Mapping[str, FieldValue]) -> Arguments:
    """The arguments that a client sent. Raises ValueError for what no AMQP table can hold."""
    if not values:
        return NO_ARGUMENTS
    ordered = {name: values[name] for name in sorted(values)}
    return Arguments(encode_table(ordered), ordered)


@lru_cache(maxsize=_TABLES_CACHED_MAX)
def read_arguments(table: bytes) -> Arguments:
    """The arguments of an encoded table (with its length field, or b""). Raises ValueError if it is malformed."""
    if not table:
        return NO_ARGUMENTS
    values, end = read_table(table, 0)
    if end != len(table):
        raise ValueError("an argument table is followed by something else")
    return arguments_of(values)


def erlang_term(value: FieldValue) -> str:
    """A value as RabbitMQ prints it with ~p."""
    if isinstance(value, str):
        return f'<<"{value}">>' if value else "<<>>"
    if isinstance(value, bytes):
        return erlang_binary(value)
    if isinstance(value, list):
        return f"[{','.join([f'{{{type_name(item)},{erlang_term(item)}}}' for item in value])}]"
    if isinstance(value, dict):
        fields = [f'{{<<"{k}">>,{type_name(v)},{erlang_term(v)}}}' for k, v in value.items()]
        return f"[{','.join(fields)}]"
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        unscaled = int("".join(map(str, digits))) * (-1 if sign else 1)
        return f"{{{-int(exponent)},{unscaled}}}"
    return plain(value)


def plain(value: FieldValue) -> str:
    """A value as RabbitMQ prints it between quotes: strings as they are, the rest as terms."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if value is None:
        return "undefined"
    return erlang_term(value)


def inequivalent(name: str, label: str, received: str, current: str) -> BrokerError:
    """The refusal of a redeclaration; `label` names the resource."""
    return precondition_failed(f"inequivalent arg '{name}' for {label}: received {received} but current is {current}")


def require_same(name: str, label: str, *, received: FieldValue, current: FieldValue) -> None:
    """A property of a redeclaration must be what it was. Raises BrokerError (406)."""
    if received != current:
        raise inequivalent(name, label, f"'{plain(received)}'", f"'{plain(current)}'")


def require_same_arguments(label: str, *, received: Arguments, current: Arguments, names: tuple[str, ...]) -> None:
    """The arguments in `names` must be what they were, integers of any width alike. Raises BrokerError (406)."""
    if received.table == current.table:
        return
    for name in names:
        here, there = name in received.values, name in current.values
        if here and there:
            new, old = received.values[name], current.values[name]
            if _differ(new, old):
                raise inequivalent(name, label, f"'{plain(new)}'", f"'{plain(old)}'")
        elif here:
            raise inequivalent(name, label, _typed(received.values[name]), "none")
        elif there:
            raise inequivalent(name, label, "none", _typed(current.values[name]))


def _differ(new: FieldValue, old: FieldValue) -> bool:
    """Whether the values themselves differ: RabbitMQ lets 5 stand for 5 in any integer type, but 5.0 not."""
    (_, ours), (_, theirs) = comparable(new), comparable(old)
    return type(ours) is not type(theirs) or ours != theirs


def _typed(value: FieldValue) -> str:
    return f"the value '{plain(value)}' of type '{type_name(value)}'"
