"""Direct exchanges: a binding matches when its key equals the routing key.

Law: routing is one dict lookup, adding and removing a binding one dict store, however many bindings there are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from cluster.broker.routing.bucket import added, members, removed
from cluster.broker.routing.headers import Arguments, HeadersLoader

D = TypeVar("D", bound=Hashable)


class DirectMatcher(Generic[D]):
    """routing key -> destinations (AMQP 0-9-1 §3.1.3.1)."""

    __slots__ = ("_by_key",)

    reads_headers = False

    def __init__(self) -> None:
        self._by_key: dict[str, D | dict[D, int]] = {}

    def add(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        self._by_key[routing_key] = added(self._by_key.get(routing_key), destination)

    def remove(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        left = removed(self._by_key[routing_key], destination)
        if left is None:
            del self._by_key[routing_key]
        else:
            self._by_key[routing_key] = left

    def match(self, routing_key: str, _headers: HeadersLoader) -> Iterable[D]:
        """Destinations in no promised order, each once."""
        return members(self._by_key.get(routing_key))
