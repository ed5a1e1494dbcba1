"""The routing table of one vhost: its exchanges, what is bound to them, and the way a message takes.

Law: an exchange or a queue is visited at most once for one message, so cycles of bindings end. An exchange that
itself leads nowhere hands the message to its alternate, if that exists. The result is in ascending order of queue
ids: it depends on what is bound, never on the order in which it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias, Union

from cluster.broker.routing.direct import DirectMatcher
from cluster.broker.routing.fanout import FanoutMatcher
from cluster.broker.routing.hashing import ConsistentHashMatcher, HashedBy, PropertyLoader, RandomMatcher, hashed_by
from cluster.broker.routing.headers import Arguments, HeadersLoader, HeadersMatcher
from cluster.broker.routing.topic import TopicMatcher

Destination: TypeAlias = Union[int, "ExchangeNode"]
"""A queue's id, or an exchange bound to another."""


class Matcher(Protocol):
    """What one exchange does with a message. Adds and removes come in pairs, one for each binding."""

    @property
    def reads_headers(self) -> bool:
        """Whether the answer depends on more than the routing key."""

    def add(self, destination: Destination, routing_key: str, arguments: Arguments, /) -> None: ...

    def remove(self, destination: Destination, routing_key: str, arguments: Arguments, /) -> None: ...

    def match(self, routing_key: str, headers: HeadersLoader, /) -> Iterable[Destination]: ...


def _name_of(destination: Destination) -> str:
    return str(destination) if isinstance(destination, int) else f"exchange {destination.name}"


def _consistent_hash() -> Matcher:
    return ConsistentHashMatcher[Destination](_name_of)


CONSISTENT_HASH: Final = "x-consistent-hash"
EXCHANGE_TYPES: Final[Mapping[str, Callable[[], Matcher]]] = {
    "direct": DirectMatcher[Destination],
    "fanout": FanoutMatcher[Destination],
    "topic": TopicMatcher[Destination],
    "headers": HeadersMatcher[Destination],
    CONSISTENT_HASH: _consistent_hash,
    "x-random": RandomMatcher[Destination],
}


class DefaultMatcher:
    """The default exchange: every queue is bound to it by its name, and nothing else can be (AMQP 0-9-1 §3.1.3.1)."""

    __slots__ = ("_queue_by_name",)

    reads_headers = False

    def __init__(self, queue_by_name: Callable[[str], int | None]) -> None:
        self._queue_by_name = queue_by_name

    def add(self, _destination: Destination, _routing_key: str, _arguments: Arguments) -> None:
        raise AssertionError("nothing is bound to the default exchange")

    def remove(self, _destination: Destination, _routing_key: str, _arguments: Arguments) -> None:
        raise AssertionError("nothing is bound to the default exchange")

    def match(self, routing_key: str, _headers: HeadersLoader) -> Iterable[Destination]:
        queue = self._queue_by_name(routing_key)
        return () if queue is None else (queue,)


class ExchangeNode:
    """An exchange as routing sees it. `alternate` is a name, which need not exist; None for none.

    `hashed_by` is what it looks at in place of routing keys; None for most.
    """

    __slots__ = ("alternate", "hashed_by", "matcher", "name")

    def __init__(self, name: str, matcher: Matcher) -> None:
        self.name = name
        self.matcher = matcher
        self.alternate: str | None = None
        self.hashed_by: HashedBy | None = None


class Routed(NamedTuple):
    """Where a message goes. `by_headers`: another message with the same keys may go elsewhere."""

    queues: tuple[int, ...]
    by_headers: bool


NO_ARGUMENTS: Final[Arguments] = {}


def no_property(_name: str) -> None:
    """A message without properties."""


class RoutingTable:
    """The exchanges of one vhost, by name. The default exchange is always there."""

    __slots__ = ("_exchanges",)

    def __init__(self, queue_by_name: Callable[[str], int | None]) -> None:
        self._exchanges = {"": ExchangeNode("", DefaultMatcher(queue_by_name))}

    def add_exchange(self, name: str, kind: str, alternate: str | None, arguments: Arguments = NO_ARGUMENTS) -> None:
        """`kind` is a key of EXCHANGE_TYPES; the name is new."""
        assert name not in self._exchanges
        node = self._exchanges[name] = ExchangeNode(name, EXCHANGE_TYPES[kind]())
        node.alternate = alternate
        if kind == CONSISTENT_HASH:
            node.hashed_by = hashed_by(arguments)

    def remove_exchange(self, name: str) -> None:
        """Its bindings in both directions must have been removed."""
        del self._exchanges[name]

    def set_alternate(self, name: str, alternate: str | None) -> None:
        self._exchanges[name].alternate = alternate

    def bind_queue(self, source: str, queue: int, routing_key: str, arguments: Arguments) -> None:
        self._exchanges[source].matcher.add(queue, routing_key, arguments)

    def unbind_queue(self, source: str, queue: int, routing_key: str, arguments: Arguments) -> None:
        self._exchanges[source].matcher.remove(queue, routing_key, arguments)

    def bind_exchange(self, source: str, target: str, routing_key: str, arguments: Arguments) -> None:
        self._exchanges[source].matcher.add(self._exchanges[target], routing_key, arguments)

    def unbind_exchange(self, source: str, target: str, routing_key: str, arguments: Arguments) -> None:
        self._exchanges[source].matcher.remove(self._exchanges[target], routing_key, arguments)

    def route(
        self,
        exchange: str,
        routing_keys: Sequence[str],
        headers: HeadersLoader,
        properties: PropertyLoader = no_property,
    ) -> Routed:
        """Queues that a message with these keys reaches. Raises KeyError if there is no such exchange."""
        start = self._exchanges[exchange]
        queues: set[int] = set()
        seen = {start}
        pending = [start]
        by_headers = False
        for node in pending:
            matcher = node.matcher
            by_headers = by_headers or matcher.reads_headers
            nowhere = True
            keys = routing_keys
            if node.hashed_by is not None:
                by_headers = True
                keys = (node.hashed_by.key_of(headers, properties),)
            for routing_key in keys:
                for destination in matcher.match(routing_key, headers):
                    nowhere = False
                    if isinstance(destination, int):
                        queues.add(destination)
                    elif destination not in seen:
                        seen.add(destination)
                        pending.append(destination)
            if nowhere and node.alternate is not None:
                alternate = self._exchanges.get(node.alternate)
                if alternate is not None and alternate not in seen:
                    seen.add(alternate)
                    pending.append(alternate)
        return Routed(tuple(sorted(queues)), by_headers)
