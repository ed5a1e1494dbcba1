"""Headers exchanges: a binding matches by the headers its arguments ask for.

Law: x-match is all (the default), any, all-with-x or any-with-x; the first two do not look at headers whose names
begin with `x-`, the others at every one but x-match itself. A void argument asks for presence alone. Bindings that
ask for the same are judged once. Headers are decoded only when a headers exchange is on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from cluster.amqp.field_table import FieldValue
from cluster.broker.routing.bucket import added, members, removed
from cluster.broker.routing.values import Comparable, header_value

D = TypeVar("D", bound=Hashable)

Arguments: TypeAlias = Mapping[str, FieldValue]
"""A binding's arguments, decoded."""
HeadersLoader: TypeAlias = Callable[[], Mapping[str, FieldValue]]
"""Decodes a message's headers. May be called more than once for one message."""

X_MATCH_WORDS: Final = ("all", "any", "all-with-x", "any-with-x")


class HeadersRule(NamedTuple):
    """What a binding asks for: any or all of `wanted`, by name; None wants presence alone."""

    any: bool
    wanted: tuple[tuple[str, Comparable | None], ...]


def headers_rule(arguments: Arguments) -> HeadersRule:
    """The rule of valid binding arguments."""
    word = arguments.get("x-match", "all")
    assert word in X_MATCH_WORDS, "arguments are judged before they are bound"
    with_x = word in {"all-with-x", "any-with-x"}
    wanted = tuple(
        [
            (name, None if arguments[name] is None else header_value(arguments[name]))
            for name in sorted(arguments)
            if (name != "x-match" if with_x else not name.startswith("x-"))
        ]
    )
    return HeadersRule(word in {"any", "any-with-x"}, wanted)


class HeadersMatcher(Generic[D]):
    """rule -> destinations (AMQP 0-9-1 §3.1.3.4, RabbitMQ's x-match)."""

    __slots__ = ("_by_rule",)

    reads_headers = True

    def __init__(self) -> None:
        self._by_rule: dict[HeadersRule, D | dict[D, int]] = {}

    def add(self, destination: D, _routing_key: str, arguments: Arguments) -> None:
        rule = headers_rule(arguments)
        self._by_rule[rule] = added(self._by_rule.get(rule), destination)

    def remove(self, destination: D, _routing_key: str, arguments: Arguments) -> None:
        rule = headers_rule(arguments)
        left = removed(self._by_rule[rule], destination)
        if left is None:
            del self._by_rule[rule]
        else:
            self._by_rule[rule] = left

    def match(self, _routing_key: str, headers: HeadersLoader) -> Iterable[D]:
        """Destinations in no promised order, each once."""
        if not self._by_rule:
            return ()
        present = {name: header_value(value) for name, value in headers().items()}
        found: dict[D, None] = {}
        for rule, bound in self._by_rule.items():
            if _asks_for(rule, present):
                for destination in members(bound):
                    found[destination] = None
        return found


def _asks_for(rule: HeadersRule, present: Mapping[str, Comparable]) -> bool:
    for name, wanted in rule.wanted:
        value = present.get(name)
        if (value is not None and (wanted is None or value == wanted)) is rule.any:
            return rule.any
    return not rule.any
