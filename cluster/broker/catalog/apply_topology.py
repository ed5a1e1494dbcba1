"""How commands about exchanges, bindings and queues change the state.

Law: each judges first, by the same rules as before it was proposed, and raises before anything is changed. What is
already as asked changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from cluster.broker.catalog import exchange_rules, queue_rules
from cluster.broker.catalog.applying import Applying
from cluster.broker.catalog.arguments import read_arguments
from cluster.broker.catalog.commands import (
    BindExchange,
    BindQueue,
    ConnectionGone,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    NodeGone,
    QueueUsed,
    UnbindExchange,
    UnbindQueue,
)
from cluster.broker.catalog.definitions import ExchangeDefinition, QueueDefinition
from cluster.broker.catalog.ids import NO_CONNECTION, NO_NODE, NO_SHARD, ConnectionId, NodeId, QueueId
from cluster.broker.catalog.outcome import QueueDeclared
from cluster.broker.catalog.state import State
from cluster.broker.catalog.vhost import Vhost
from cluster.broker.errors import precondition_failed, queue_label


def declare_exchange(state: State, command: DeclareExchange, at: Applying) -> ExchangeDefinition:
    vhost = state.vhost(command.vhost)
    existing = exchange_rules.judge_declare(vhost, command)
    if existing is not None:
        return existing
    exchange = ExchangeDefinition(
        vhost.name,
        command.name,
        command.type,
        command.durable,
        command.auto_delete,
        command.internal,
        read_arguments(command.arguments),
    )
    vhost.add_exchange(exchange)
    at.touched = True
    return exchange


def delete_exchange(state: State, command: DeleteExchange, at: Applying) -> None:
    vhost = state.vhost(command.vhost)
    if exchange_rules.judge_delete(vhost, command) is not None:
        vhost.remove_exchange(command.name)
        at.touched = True


def bind(state: State, command: BindQueue | BindExchange, at: Applying) -> None:
    vhost = state.vhost(command.vhost)
    binding = exchange_rules.binding_of(command)
    if exchange_rules.judge_bind(vhost, binding):
        vhost.bind(binding)
        at.touched = True


def unbind(state: State, command: UnbindQueue | UnbindExchange, at: Applying) -> None:
    """Not judged again: the first time may have taken an auto-delete exchange with it, and a repetition is good."""
    if state.vhost(command.vhost).unbind(exchange_rules.binding_of(command)):
        at.touched = True


def placed(state: State, command: DeclareQueue) -> DeclareQueue:
    """The command as the leader proposes it, who decides once for all near whom a replicated queue is to be led.

    That can depend on policies. They go by patterns, and a match that takes too long is given up: by each replica at
    a time of its own.
    """
    vhost = state.vhosts.get(command.vhost)
    if vhost is None or not _is_replicated(command):
        return command
    return replace(command, home=command.home if _is_wanted_at_home(vhost, command) else NO_NODE, incarnation=0)


def _is_replicated(command: DeclareQueue) -> bool:
    return command.durable and not command.exclusive


def _is_wanted_at_home(vhost: Vhost, command: DeclareQueue) -> bool:
    arguments = read_arguments(command.arguments)
    locator = arguments.text("x-queue-leader-locator")
    if locator is None:
        kind = queue_rules.queue_type(vhost, command, arguments)
        return vhost.policies.locator(command.name, kind) == "client-local"
    return locator == "client-local"


def declare_queue(state: State, command: DeclareQueue, at: Applying) -> QueueDefinition:
    vhost = state.vhost(command.vhost)
    existing = queue_rules.judge_declare(vhost, command)
    if existing is not None:
        return existing
    replicated = _is_replicated(command)
    home = NodeId(command.home)
    if not replicated and (home not in state.members or command.incarnation <= state.gone_incarnations.get(home, -1)):
        raise precondition_failed(f"node {home} lost {queue_label(vhost.name, command.name)} before it was declared")
    arguments = read_arguments(command.arguments)
    queue = QueueDefinition(
        at.queue_id(),
        vhost.name,
        command.name,
        replicated,
        command.auto_delete,
        ConnectionId(command.owner) if command.exclusive else NO_CONNECTION,
        arguments,
        queue_rules.queue_type(vhost, command, arguments),
        NO_SHARD,
        NO_NODE if replicated else home,
        0 if replicated else command.incarnation,
    )
    if replicated:
        # With an incarnation it is as an older leader has proposed it, and not decided.
        is_local = _is_wanted_at_home(vhost, command) if command.incarnation else home != NO_NODE
        queue = replace(queue, shard=state.lightest_shard(home if is_local else None))
    state.add_queue(queue)
    at.changes.append(QueueDeclared(queue))
    at.touched = True
    return queue


def delete_queue(state: State, command: DeleteQueue, at: Applying) -> QueueDefinition | None:
    queue = state.vhost(command.vhost).queues.get(command.name)
    if queue is None or command.expected not in (0, queue.id):
        return None
    at.delete_queues(state, [queue])
    return queue


def queue_used(state: State, command: QueueUsed, at: Applying) -> None:
    queue = state.queue_by_id.get(QueueId(command.queue))
    if queue is not None and queue.auto_delete and queue.replicated:
        state.used_queues[queue.id] = None


def node_gone(state: State, command: NodeGone, at: Applying) -> None:
    node = NodeId(command.node)
    known = state.gone_incarnations.get(node, -1)
    if command.incarnation <= known:
        return
    state.gone_incarnations[node] = command.incarnation
    queues = [state.queue_by_id[queue] for queue in state.by_home.get(node, ())]
    at.delete_queues(state, [queue for queue in queues if queue.incarnation <= command.incarnation])


def connection_gone(state: State, command: ConnectionGone, at: Applying) -> None:
    owned = state.by_owner.get(ConnectionId(command.connection), ())
    at.delete_queues(state, [state.queue_by_id[queue] for queue in owned])
