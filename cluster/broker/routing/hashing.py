"""Exchanges that pick one of what is bound: by a hash of the routing key, or at random (RabbitMQ's plugins).

Law: one message goes to one destination. For the consistent hash the choice depends on the key and on what is bound
alone, alike on every node; a destination that comes or goes moves only the keys of its own share. The key is the
routing key, or what the exchange's arguments name instead: a header or a property of the message; messages without it
have one key in common. A binding's key is its weight, a positive integer.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from cluster.broker.routing.headers import Arguments, HeadersLoader
from cluster.broker.routing.values import header_value

D = TypeVar("D", bound=Hashable)

POINTS_PER_WEIGHT = 64
"""Points on the ring for each unit of weight: shares are even within about an eighth."""
WEIGHT_MAX = 1000
"""A larger weight counts as this."""


HASH_HEADER, HASH_PROPERTY = "hash-header", "hash-property"
"""The exchange's arguments."""
PROPERTIES = ("correlation_id", "message_id", "timestamp")
"""What a hash-property may name."""
PropertyLoader: TypeAlias = Callable[[str], "str | int | None"]
"""Reads one of PROPERTIES; None where a message has it not."""


class HashedBy(NamedTuple):
    """What stands for the routing key: a header by its name, or one of PROPERTIES."""

    name: str
    is_header: bool

    def key_of(self, headers: HeadersLoader, properties: PropertyLoader) -> str:
        """Equal for values that a headers exchange holds for equal."""
        value = headers().get(self.name) if self.is_header else properties(self.name)
        return value if isinstance(value, str) else repr(header_value(value))


def hashed_by(arguments: Arguments) -> HashedBy | None:
    """What an exchange's arguments, already judged, ask for; None for the routing key."""
    for argument in (HASH_HEADER, HASH_PROPERTY):
        name = arguments.get(argument)
        if isinstance(name, str):
            return HashedBy(name, argument == HASH_HEADER)
    return None


def _place(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def weight_of(routing_key: str) -> int | None:
    """The weight that a binding key says; None for what is no positive integer."""
    if not (routing_key.isascii() and routing_key.isdigit()):
        return None
    return min(int(routing_key), WEIGHT_MAX) or None


class ConsistentHashMatcher(Generic[D]):
    """Exchange type x-consistent-hash. `name_of` tells a destination from all others, alike on every node."""

    __slots__ = ("_holds", "_name_of", "_places", "_ring")

    reads_headers = False

    def __init__(self, name_of: Callable[[D], str]) -> None:
        self._name_of = name_of
        self._holds: dict[tuple[D, int], int] = {}
        self._ring: dict[int, D] = {}
        self._places: list[int] = []

    def add(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        hold = (destination, weight_of(routing_key) or 1)
        self._holds[hold] = self._holds.get(hold, 0) + 1
        self._build()

    def remove(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        hold = (destination, weight_of(routing_key) or 1)
        self._holds[hold] -= 1
        if not self._holds[hold]:
            del self._holds[hold]
        self._build()

    def _build(self) -> None:
        named = sorted([(self._name_of(destination), weight, destination) for destination, weight in self._holds])
        self._ring = {
            _place(f"{name}/{weight}/{point}"): destination
            for name, weight, destination in named
            for point in range(weight * POINTS_PER_WEIGHT)
        }
        self._places = sorted(self._ring)

    def match(self, routing_key: str, _headers: HeadersLoader) -> Iterable[D]:
        if not self._places:
            return ()
        at = bisect_left(self._places, _place(routing_key)) % len(self._places)
        return (self._ring[self._places[at]],)


class RandomMatcher(Generic[D]):
    """Exchange type x-random: every binding has the same chance; keys are ignored."""

    __slots__ = ("_bound", "_random")

    reads_headers = True
    """Two messages alike may go to different destinations: the answer is not to be remembered."""

    def __init__(self) -> None:
        self._bound: list[D] = []
        self._random = random.Random()

    def add(self, destination: D, _routing_key: str, _arguments: Arguments) -> None:
        self._bound.append(destination)

    def remove(self, destination: D, _routing_key: str, _arguments: Arguments) -> None:
        self._bound.remove(destination)

    def match(self, _routing_key: str, _headers: HeadersLoader) -> Iterable[D]:
        return (self._random.choice(self._bound),) if self._bound else ()
