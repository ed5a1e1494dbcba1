"""A catalog in a founded cluster, and short words for what clients and operators do to it."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.amqp.field_table import FieldValue
from cluster.broker.catalog.arguments import arguments_of
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.commands import (
    BindExchange,
    BindQueue,
    Command,
    DeclareExchange,
    DeclareQueue,
    FoundCluster,
    PutUser,
    SetPermissions,
    UnbindExchange,
    UnbindQueue,
)
from cluster.broker.catalog.ids import ConnectionId
from cluster.broker.catalog.outcome import Ok, Outcome
from cluster.broker.errors import BrokerError, Scope

MINE, OTHERS = ConnectionId("1:1:1"), ConnectionId("1:1:2")
FOUND = FoundCluster(
    "c-1",
    "orders",
    ((1, "mq-1", "10.0.0.1", 25672), (2, "mq-2", "10.0.0.2", 25672), (3, "mq-3", "10.0.0.3", 25672)),
    ((1, (1, 2, 3)), (2, (2, 3, 1)), (3, (3, 1, 2))),
    "guest",
    "hash",
)


class Founded:
    """A catalog to apply commands to, as the log would."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.index = 0
        self.ok(FOUND)

    def apply(self, command: Command) -> Outcome:
        self.index += 1
        return self.catalog.apply(self.index, encode_command(command, b"id"))

    def ok(self, *commands: Command) -> object:
        """Apply each; all must succeed. The value of the last one."""
        value: object = None
        for command in commands:
            outcome = self.apply(command)
            assert isinstance(outcome, Ok), outcome
            value = outcome.value
        return value

    def user(self, name: str, configure: str, write: str, read: str) -> str:
        self.ok(PutUser(name, "hash"), SetPermissions(name, "/", configure, write, read))
        return name

    def routed(self, exchange: str, key: str, headers: Mapping[str, FieldValue] | None = None) -> list[str]:
        """Names of the queues a message reaches."""
        route = self.catalog.route("/", exchange, key, lambda: headers or {})
        return [queue.name for queue in route.queues]


def table(arguments: Mapping[str, FieldValue]) -> bytes:
    return arguments_of(arguments).table


def exchange(
    name: str,
    kind: str = "direct",
    durable: bool = True,
    auto_delete: bool = False,
    internal: bool = False,
    **arguments: FieldValue,
) -> DeclareExchange:
    """Arguments are named with _ for -."""
    return DeclareExchange("/", name, kind, durable, auto_delete, internal, _named(arguments))


def queue(
    name: str,
    *,
    durable: bool = True,
    exclusive: bool = False,
    auto_delete: bool = False,
    owner: str = MINE,
    home: int = 1,
    incarnation: int = 1,
    vhost: str = "/",
    **arguments: FieldValue,
) -> DeclareQueue:
    """Arguments are named with _ for -."""
    return DeclareQueue(vhost, name, durable, exclusive, auto_delete, _named(arguments), owner, home, incarnation)


def bind(source: str, to: str, key: str = "", **arguments: FieldValue) -> BindQueue:
    return BindQueue("/", source, to, key, table(arguments))


def unbind(source: str, to: str, key: str = "", **arguments: FieldValue) -> UnbindQueue:
    return UnbindQueue("/", source, to, key, table(arguments))


def link(source: str, destination: str, key: str = "") -> BindExchange:
    return BindExchange("/", destination, source, key)


def unlink(source: str, destination: str, key: str = "") -> UnbindExchange:
    return UnbindExchange("/", destination, source, key)


def channel(code: int, text: str) -> BrokerError:
    return BrokerError(code, text, Scope.CHANNEL)


def connection(code: int, text: str) -> BrokerError:
    return BrokerError(code, text, Scope.CONNECTION)


def _named(arguments: Mapping[str, FieldValue]) -> bytes:
    return table({name.replace("_", "-"): value for name, value in arguments.items()})
