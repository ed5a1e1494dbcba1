"""What may be declared and used, as far as queues go.

Law: pure judgements over one vhost, the same before a command is proposed and when it is applied; permissions and
names that clients may not use are in `checks`. An exclusive queue is its connection's alone and never durable. Texts
are RabbitMQ's.
"""

from __future__ import annotations

from cluster.amqp.field_table import type_name
from cluster.broker.catalog.arguments import Arguments, read_arguments, require_same, require_same_arguments
from cluster.broker.catalog.commands import DeclareQueue
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import NO_CONNECTION, ConnectionId
from cluster.broker.catalog.queue_arguments import COMPARED, judge_arguments
from cluster.broker.catalog.vhost import Vhost
from cluster.broker.errors import (
    BrokerError,
    access_refused,
    no_queue,
    precondition_failed,
    queue_label,
    resource_locked,
)

DEAD_LETTER = "x-dead-letter-exchange"


def judge_declare(vhost: Vhost, command: DeclareQueue) -> QueueDefinition | None:
    """The existing queue if the declaration is the same as its own, None if it is to be made.

    Raises BrokerError: 405 exclusive to another connection, or exclusive here and not there; 406 not the same, the
    vhost's queue limit, arguments or properties that are wrong for the type.
    """
    existing = vhost.queues.get(command.name)
    if existing is not None:
        require_equivalent(vhost, existing, command)
        return existing
    require_under_limit(vhost, command.name)
    label = queue_label(vhost.name, command.name)
    arguments = read_arguments(command.arguments)
    dead_letter_exchange(label, arguments)
    kind = queue_type(vhost, command, arguments)
    judge_arguments(label, arguments, kind)
    if kind == "quorum":
        if command.auto_delete:
            raise precondition_failed(f"invalid property 'auto-delete' for {label}")
        if command.exclusive:
            raise precondition_failed(f"invalid property 'exclusive-owner' for {label}")
        if not command.durable:
            raise precondition_failed(f"invalid property 'non-durable' for {label}")
    return None


def queue_type(vhost: Vhost, command: DeclareQueue, arguments: Arguments) -> str:
    """The type asked for, else the vhost's default where the properties allow it, else classic."""
    asked = arguments.text("x-queue-type")
    if asked is not None:
        return asked
    if command.durable and not command.exclusive and not command.auto_delete:
        return vhost.default_queue_type
    return "classic"


def require_equivalent(vhost: Vhost, queue: QueueDefinition, command: DeclareQueue) -> None:
    """A redeclaration must say the same; the type may go without saying. Raises BrokerError: 405, 406."""
    owner = ConnectionId(command.owner) if command.exclusive else NO_CONNECTION
    if queue.owner != owner:
        raise locked(queue)
    durable = command.durable and not command.exclusive
    require_same("durable", queue.label, received=durable, current=queue.durable)
    require_same("auto_delete", queue.label, received=command.auto_delete, current=queue.auto_delete)
    received = read_arguments(command.arguments)
    names = COMPARED[queue.type]
    if isinstance(received.values.get("x-queue-type", ""), str) and queue_type(vhost, command, received) == queue.type:
        names = tuple([name for name in names if name != "x-queue-type"])
    require_same_arguments(queue.label, received=received, current=queue.arguments, names=names)


def require_access(queue: QueueDefinition, connection: ConnectionId) -> None:
    """Raises BrokerError (405) if the queue is exclusive to another connection."""
    if queue.owner not in (NO_CONNECTION, connection):
        raise locked(queue)


def require_queue(vhost: Vhost, name: str) -> QueueDefinition:
    """Raises BrokerError (404)."""
    queue = vhost.queues.get(name)
    if queue is None:
        raise no_queue(vhost.name, name)
    return queue


def require_under_limit(vhost: Vhost, name: str) -> None:
    """Raises BrokerError (406) if the vhost may not have another queue."""
    limit = vhost.limits.get("max-queues")
    if limit is not None and len(vhost.queues) >= limit:
        raise precondition_failed(
            f"cannot declare queue '{name}': queue limit in vhost '{vhost.name}' ({limit}) is reached"
        )


def dead_letter_exchange(label: str, arguments: Arguments) -> str | None:
    """The dead letter exchange asked for. Raises BrokerError (406) if it is not a string."""
    if DEAD_LETTER not in arguments.values:
        return None
    name = arguments.text(DEAD_LETTER)
    if name is None:
        kind = type_name(arguments.values[DEAD_LETTER])
        raise precondition_failed(f"invalid type '{kind}' for arg '{DEAD_LETTER}' in {label}")
    return name


def locked(queue: QueueDefinition) -> BrokerError:
    """What a connection hears that uses another's exclusive queue."""
    return resource_locked(
        f"cannot obtain exclusive access to locked {queue.label}. It could be originally declared on another"
        " connection or the exclusive property value does not match that of the original declaration."
    )


def in_use(queue: QueueDefinition) -> BrokerError:
    """queue.delete if-unused of a queue with consumers."""
    return precondition_failed(f"{queue.label} in use")


def not_empty(queue: QueueDefinition) -> BrokerError:
    """queue.delete if-empty of a queue with messages."""
    return precondition_failed(f"{queue.label} not empty")


def in_exclusive_use(queue: QueueDefinition) -> BrokerError:
    """basic.consume of a queue with an exclusive consumer, or exclusively of one with any."""
    return access_refused(f"{queue.label} in exclusive use")
