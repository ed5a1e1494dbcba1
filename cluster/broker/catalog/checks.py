"""What a client may do now, judged against the catalog before anything is proposed.

Law: nothing changes here. Each check makes the judgements of one AMQP method in RabbitMQ's order, and so answers with
RabbitMQ's error when several apply. It tells whether a command must be proposed: what is already so costs no
write. Applying judges again, because another command may come first. `user` is None for the broker itself, who needs
no permission and may use reserved names.
"""

from __future__ import annotations

from cluster.broker.catalog import exchange_rules, queue_rules
from cluster.broker.catalog.access import Verb
from cluster.broker.catalog.arguments import read_arguments
from cluster.broker.catalog.commands import (
    BindExchange,
    BindQueue,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    UnbindExchange,
    UnbindQueue,
)
from cluster.broker.catalog.definitions import ExchangeDefinition, QueueDefinition
from cluster.broker.catalog.ids import ConnectionId
from cluster.broker.catalog.queue_arguments import refuse_stream_arguments
from cluster.broker.catalog.state import State
from cluster.broker.errors import (
    access_refused,
    no_exchange,
    not_allowed,
    precondition_failed,
    queue_label,
)

RESERVED_PREFIX = "amq."


class Checks:
    """Every BrokerError here has code, scope and text as RabbitMQ's."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def look_at(self, state: State) -> None:
        """Judge by another state from now on."""
        self._state = state

    # Connections and channels.

    def open_vhost(self, user: str, vhost: str, *, vhost_connections: int, user_connections: int) -> None:
        """connection.open; the counts are of connections open now, without this one. Raises 530."""
        allowed = self._state.vhost(vhost).limits.get("max-connections")
        if allowed is not None and vhost_connections >= allowed:
            raise not_allowed(
                f"access to vhost '{vhost}' refused for user '{user}': connection limit ({allowed}) is reached"
            )
        allowed = self._state.access.limits_of(user).get("max-connections")
        if allowed is not None and user_connections >= allowed:
            raise not_allowed(f"connection refused for user '{user}': user connection limit ({allowed}) is reached")
        self._state.access.check_vhost(user, vhost)

    def open_channel(self, user: str, *, user_channels: int) -> None:
        """channel.open; the count is of the user's channels open now, without this one. Raises 530."""
        allowed = self._state.access.limits_of(user).get("max-channels")
        if allowed is not None and user_channels >= allowed:
            raise not_allowed(
                f"number of channels opened for user '{user}' has reached the maximum allowed user limit of ({allowed})"
            )

    # Exchanges.

    def declare_exchange(self, user: str | None, command: DeclareExchange) -> ExchangeDefinition | None:
        """exchange.declare: the existing exchange if it is the same, None if the command must be proposed.

        Raises 503, 403, 406.
        """
        vhost = self._state.vhost(command.vhost)
        exchange_rules.require_exchange_type(command.type)
        exchange_rules.require_not_default(command.name)
        self._exchange(user, command.vhost, command.name, "configure")
        existing = vhost.exchanges.get(command.name)
        if existing is None:
            if user is not None and command.name.startswith(RESERVED_PREFIX):
                raise access_refused(f"exchange name '{command.name}' contains reserved prefix 'amq.*'")
            alternate = exchange_rules.alternate_name(command, read_arguments(command.arguments))
            if alternate is not None:
                self._exchange(user, command.vhost, command.name, "read")
                self._exchange(user, command.vhost, alternate, "write")
        return exchange_rules.judge_declare(vhost, command)

    def passive_exchange(self, vhost: str, name: str) -> ExchangeDefinition:
        """exchange.declare passive. Needs no permission. Raises 403 (default exchange), 404."""
        exchange_rules.require_not_default(name)
        existing = self._state.vhost(vhost).exchanges.get(name)
        if existing is None:
            raise no_exchange(vhost, name)
        return existing

    def delete_exchange(self, user: str | None, command: DeleteExchange) -> bool:
        """exchange.delete: whether the command must be proposed; what is not there is deleted already.

        Raises 403, 406.
        """
        exchange_rules.require_not_default(command.name)
        exchange_rules.require_not_system(command.vhost, command.name)
        self._exchange(user, command.vhost, command.name, "configure")
        return exchange_rules.judge_delete(self._state.vhost(command.vhost), command) is not None

    def bind_queue(self, user: str | None, command: BindQueue, connection: ConnectionId) -> bool:
        """queue.bind: whether the command must be proposed. Raises 403, 404, 405, 406."""
        self._binding(user, command)
        vhost = self._state.vhost(command.vhost)
        needed = exchange_rules.judge_bind(vhost, exchange_rules.binding_of(command))
        queue_rules.require_access(vhost.queues[command.queue], connection)
        return needed

    def unbind_queue(self, user: str | None, command: UnbindQueue, connection: ConnectionId) -> bool:
        """queue.unbind: whether the command must be proposed; nothing to unbind is good. Raises 403, 405."""
        self._binding(user, command)
        vhost = self._state.vhost(command.vhost)
        needed = exchange_rules.judge_unbind(vhost, exchange_rules.binding_of(command))
        if needed:
            queue_rules.require_access(vhost.queues[command.queue], connection)
        return needed

    def bind_exchange(self, user: str | None, command: BindExchange) -> bool:
        """exchange.bind: whether the command must be proposed. Raises 403, 404, 406."""
        self._binding(user, command)
        vhost = self._state.vhost(command.vhost)
        return exchange_rules.judge_bind(vhost, exchange_rules.binding_of(command))

    def unbind_exchange(self, user: str | None, command: UnbindExchange) -> bool:
        """exchange.unbind: whether the command must be proposed; nothing to unbind is good. Raises 403."""
        self._binding(user, command)
        vhost = self._state.vhost(command.vhost)
        return exchange_rules.judge_unbind(vhost, exchange_rules.binding_of(command))

    def publish(self, user: str, vhost: str, exchange: str, routing_key: str) -> None:
        """basic.publish, as far as the exchange goes. Raises 403, 404."""
        self._exchange(user, vhost, exchange, "write")
        definition = self._state.vhost(vhost).exchanges.get(exchange)
        if definition is None:
            raise no_exchange(vhost, exchange)
        if definition.internal:
            raise access_refused(f"cannot publish to internal {definition.label}")
        if definition.routing_type == "topic":
            self._state.access.check_topic(user, vhost, exchange, routing_key, "write")

    # Queues.

    def declare_queue(
        self, user: str | None, command: DeclareQueue, *, server_named: bool = False
    ) -> QueueDefinition | None:
        """queue.declare: the existing queue if it is the same, None if the command must be proposed.

        `server_named`: the client gave no name, and the one in the command was made for it. Raises 403, 405, 406.
        """
        vhost = self._state.vhost(command.vhost)
        arguments = read_arguments(command.arguments)
        if server_named:
            if queue_rules.queue_type(vhost, command, arguments) == "quorum":
                raise precondition_failed("Cannot declare a server-named queue for type rabbit_quorum_queue")
        elif user is not None and command.name.startswith(RESERVED_PREFIX):
            raise access_refused(f"queue name '{command.name}' contains reserved prefix 'amq.*'")
        self._queue(user, command.vhost, command.name, "configure")
        if command.name not in vhost.queues:
            queue_rules.require_under_limit(vhost, command.name)
            label = queue_label(command.vhost, command.name)
            dead_letter_exchange = queue_rules.dead_letter_exchange(label, arguments)
            if dead_letter_exchange is not None:
                self._queue(user, command.vhost, command.name, "read")
                self._exchange(user, command.vhost, dead_letter_exchange, "write")
        known = queue_rules.judge_declare(vhost, command)
        if known is None:
            kind = queue_rules.queue_type(vhost, command, arguments)
            refuse_stream_arguments(queue_label(command.vhost, command.name), arguments, kind)
        return known

    def passive_queue(self, vhost: str, name: str, connection: ConnectionId) -> QueueDefinition:
        """queue.declare passive. Needs no permission. Raises 404, 405."""
        queue = queue_rules.require_queue(self._state.vhost(vhost), name)
        queue_rules.require_access(queue, connection)
        return queue

    def read_queue(self, user: str | None, vhost: str, name: str, connection: ConnectionId) -> QueueDefinition:
        """basic.consume, basic.get and queue.purge. Raises 403, 404, 405."""
        self._queue(user, vhost, name, "read")
        return self.passive_queue(vhost, name, connection)

    def delete_queue(self, user: str | None, vhost: str, name: str, connection: ConnectionId) -> QueueDefinition | None:
        """queue.delete: the queue to delete, None if it is not there, which is good. Raises 403, 405.

        Whether it is empty or in use only its shard knows: see `queue_rules.not_empty`, `in_use`.
        """
        self._queue(user, vhost, name, "configure")
        queue = self._state.vhost(vhost).queues.get(name)
        if queue is not None:
            queue_rules.require_access(queue, connection)
        return queue

    # Permissions.

    def _binding(self, user: str | None, command: BindQueue | UnbindQueue | BindExchange | UnbindExchange) -> None:
        """Write on what is bound, read on what it is bound to, in RabbitMQ's order."""
        binding = exchange_rules.binding_of(command)
        if binding.to_queue:
            self._queue(user, command.vhost, binding.destination, "write")
        else:
            self._exchange(user, command.vhost, binding.destination, "write")
            exchange_rules.require_not_default(binding.destination)
        exchange_rules.require_not_default(binding.source)
        self._exchange(user, command.vhost, binding.source, "read")
        source = self._state.vhost(command.vhost).exchanges.get(binding.source)
        if user is not None and source is not None and source.routing_type == "topic":
            self._state.access.check_topic(user, command.vhost, binding.source, binding.routing_key, "read")

    def _exchange(self, user: str | None, vhost: str, name: str, verb: Verb) -> None:
        if user is not None:
            self._state.access.check_exchange(user, vhost, name, verb)

    def _queue(self, user: str | None, vhost: str, name: str, verb: Verb) -> None:
        if user is not None:
            self._state.access.check_queue(user, vhost, name, verb)
