"""One virtual host: its exchanges, bindings and queues, and the routing that follows from them.

Law: a binding's two ends exist; it stands in `outgoing` of its source, once among what leads to its destination, and
as one hold in the routing table. An auto-delete exchange goes with the last binding that leaves it, and so may, in
turn, exchanges bound to it. Only the catalog's commands come here, and judge before they change anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cluster.broker.catalog.arguments import NO_ARGUMENTS, read_arguments
from cluster.broker.catalog.definitions import Binding, ExchangeDefinition, QueueDefinition
from cluster.broker.catalog.policies import Policies
from cluster.broker.routing.bucket import added, members, removed
from cluster.broker.routing.table import RoutingTable

PREDECLARED: Final = (
    ("", "direct", False),
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.rabbitmq.trace", "topic", True),
    ("amq.topic", "topic", False),
)
"""name, type, internal: durable exchanges that are in every vhost and cannot be deleted."""
VHOST_LIMITS: Final = ("max-connections", "max-queues")


class Vhost:
    """The state of a vhost. Orders within the dicts mean nothing: whoever writes them down sorts."""

    __slots__ = (
        "_incoming",
        "_to_queue",
        "default_queue_type",
        "description",
        "exchanges",
        "limits",
        "name",
        "outgoing",
        "policies",
        "queues",
        "routing",
        "tags",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.description = ""
        self.tags = ""
        self.default_queue_type = "classic"
        self.limits: dict[str, int] = {}
        """limit -> value, never negative"""
        self.policies = Policies()
        self.exchanges: dict[str, ExchangeDefinition] = {}
        self.queues: dict[str, QueueDefinition] = {}
        self.outgoing: dict[str, dict[Binding, None]] = {}
        """source -> its bindings; every exchange but the default one has an entry"""
        self._incoming: dict[str, dict[Binding, None]] = {}
        """destination exchange -> bindings that lead to it; only where there are any"""
        self._to_queue: dict[str, Binding | dict[Binding, int]] = {}
        """destination queue -> bindings that lead to it; only where there are any"""
        self.routing = RoutingTable(self._queue_id)

    def _queue_id(self, name: str) -> int | None:
        queue = self.queues.get(name)
        return None if queue is None else queue.id

    def predeclare(self) -> None:
        """The exchanges of a new vhost."""
        for name, kind, internal in PREDECLARED:
            self.add_exchange(ExchangeDefinition(self.name, name, kind, True, False, internal, NO_ARGUMENTS))

    def add_exchange(self, exchange: ExchangeDefinition) -> None:
        self.exchanges[exchange.name] = exchange
        if exchange.name:
            self.outgoing[exchange.name] = {}
            alternate = self.policies.alternate(exchange)
            self.routing.add_exchange(exchange.name, exchange.routing_type, alternate, exchange.arguments.values)

    def remove_exchange(self, name: str) -> None:
        """With every binding from and to it, and the auto-delete exchanges that lose their last one."""
        doomed = [name]
        for current in doomed:
            if current not in self.exchanges:
                continue
            for binding in list(self.outgoing[current]):
                self._unlink(binding)
            for binding in list(self._incoming.get(current, ())):
                self._unlink(binding)
                if self._is_over(binding.source):
                    doomed.append(binding.source)
            del self.exchanges[current]
            del self.outgoing[current]
            self.routing.remove_exchange(current)

    def bind(self, binding: Binding) -> bool:
        """False if it was there already."""
        source, to_queue, destination, routing_key, table = binding
        outgoing = self.outgoing[source]
        if binding in outgoing:
            return False
        source = self.exchanges[source].name
        arguments = read_arguments(table)
        if to_queue:
            queue = self.queues[destination]
            # Made of the strings that the definitions hold, so that a binding's own cost is its key.
            binding = Binding(source, True, queue.name, routing_key, arguments.table)
            self._to_queue[queue.name] = added(self._to_queue.get(queue.name), binding)
            self.routing.bind_queue(source, queue.id, routing_key, arguments.values)
        else:
            destination = self.exchanges[destination].name
            binding = Binding(source, False, destination, routing_key, arguments.table)
            self._incoming.setdefault(destination, {})[binding] = None
            self.routing.bind_exchange(source, destination, routing_key, arguments.values)
        outgoing[binding] = None
        return True

    def unbind(self, binding: Binding) -> bool:
        """False if it was not there. An auto-delete source goes with its last binding."""
        if binding not in self.outgoing.get(binding.source, ()):
            return False
        self._unlink(binding)
        self._remove_if_over(binding.source)
        return True

    def add_queue(self, queue: QueueDefinition) -> None:
        self.queues[queue.name] = queue

    def remove_queue(self, name: str) -> None:
        """With its bindings, and the auto-delete exchanges that lose their last one."""
        for binding in list(members(self._to_queue.get(name))):
            self._unlink(binding)
            self._remove_if_over(binding.source)
        del self.queues[name]

    def bindings_to_queue(self, name: str) -> Iterable[Binding]:
        return members(self._to_queue.get(name))

    def bindings_to_exchange(self, name: str) -> Iterable[Binding]:
        return self._incoming.get(name, ())

    def refresh_alternates(self) -> None:
        """After a change of policies. The default exchange has no alternate, as in RabbitMQ."""
        for name in self.outgoing:
            exchange = self.exchanges[name]
            self.routing.set_alternate(name, self.policies.alternate(exchange))

    def _is_over(self, source: str) -> bool:
        exchange = self.exchanges.get(source)
        return exchange is not None and exchange.auto_delete and not self.outgoing[source]

    def _remove_if_over(self, source: str) -> None:
        if self._is_over(source):
            self.remove_exchange(source)

    def _unlink(self, binding: Binding) -> None:
        del self.outgoing[binding.source][binding]
        arguments = read_arguments(binding.arguments).values
        if binding.to_queue:
            left = removed(self._to_queue[binding.destination], binding)
            if left is None:
                del self._to_queue[binding.destination]
            else:
                self._to_queue[binding.destination] = left
            queue = self.queues[binding.destination]
            self.routing.unbind_queue(binding.source, queue.id, binding.routing_key, arguments)
        else:
            incoming = self._incoming[binding.destination]
            del incoming[binding]
            if not incoming:
                del self._incoming[binding.destination]
            self.routing.unbind_exchange(binding.source, binding.destination, binding.routing_key, arguments)
