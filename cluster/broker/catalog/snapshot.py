"""The catalog's state as octets.

Law: canonical: equal states give equal octets, whatever order things happened in, so the octets' hash is the state's
hash. Everything is written sorted. A program reads every version up to its own; a newer one raises, and the node
stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any, Final

import msgpack

from cluster.broker.catalog.access import Permissions, TopicPermissions, User
from cluster.broker.catalog.arguments import read_arguments
from cluster.broker.catalog.definitions import Binding, ExchangeDefinition, QueueDefinition
from cluster.broker.catalog.ids import ConnectionId, GroupId, NodeId, QueueId
from cluster.broker.catalog.policies import Policy
from cluster.broker.catalog.state import Member, MemberState, State
from cluster.broker.catalog.vhost import Vhost

SNAPSHOT_VERSION: Final = 2
"""1 did not tell which queues have been used."""


class UnknownSnapshot(Exception):
    """These octets are no snapshot that this program can read. The node must not go on."""


def encode_state(state: State) -> bytes:
    """The whole state."""
    access = state.access
    return msgpack.packb(  # type: ignore[no-any-return]
        [
            SNAPSHOT_VERSION,
            [state.applied_index, state.version, state.cluster_id, state.cluster_name],
            _pairs(state.settings),
            [_member_row(state.members[node]) for node in sorted(state.members)],
            state.highest_node,
            _pairs(state.gone_incarnations),
            _pairs(state.placement),
            [
                [[user.name, user.password_hash, user.tags] for _, user in sorted(access.users.items())],
                [
                    [*key, permissions.configure, permissions.write, permissions.read]
                    for key, permissions in sorted(access.permissions.items())
                ],
                [
                    [*key, exchange, permissions.write, permissions.read]
                    for key, by_exchange in sorted(access.topic_permissions.items())
                    for exchange, permissions in sorted(by_exchange.items())
                ],
                [[user, _pairs(limits)] for user, limits in sorted(access.limits.items())],
            ],
            [_vhost_row(vhost) for _, vhost in sorted(state.vhosts.items())],
            sorted(state.used_queues),
        ]
    )


def decode_state(data: bytes) -> State:
    """Raises UnknownSnapshot."""
    try:
        rows = msgpack.unpackb(data, use_list=False, strict_map_key=False)
        if rows[0] == 1:
            rows = (*rows, ())
        elif rows[0] != SNAPSHOT_VERSION:
            raise UnknownSnapshot(f"catalog snapshot version {rows[0]} is not known")
        return _read_state(rows)
    except (ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException) as error:
        raise UnknownSnapshot(f"not a catalog snapshot: {error}") from error


def _pairs(table: Mapping[Any, object]) -> list[list[object]]:
    return [[key, table[key]] for key in sorted(table)]


def _member_row(member: Member) -> list[object]:
    return [member.node, member.name, member.host, member.port, int(member.state)]


def _policy_rows(policies: Mapping[str, Policy]) -> list[list[object]]:
    return [
        [policy.name, policy.pattern, policy.apply_to, policy.priority, policy.definition]
        for _, policy in sorted(policies.items())
    ]


def _exchange_row(exchange: ExchangeDefinition) -> list[object]:
    return [
        exchange.name,
        exchange.type,
        exchange.durable,
        exchange.auto_delete,
        exchange.internal,
        exchange.arguments.table,
    ]


def _queue_row(queue: QueueDefinition) -> list[object]:
    return [
        queue.name,
        queue.id,
        queue.durable,
        queue.auto_delete,
        queue.owner,
        queue.arguments.table,
        queue.type,
        queue.shard,
        queue.home,
        queue.incarnation,
    ]


def _vhost_row(vhost: Vhost) -> list[object]:
    return [
        vhost.name,
        vhost.description,
        vhost.tags,
        vhost.default_queue_type,
        _pairs(vhost.limits),
        _policy_rows(vhost.policies.by_name),
        _policy_rows(vhost.policies.operator_by_name),
        [_exchange_row(vhost.exchanges[name]) for name in sorted(vhost.exchanges)],
        [_queue_row(vhost.queues[name]) for name in sorted(vhost.queues)],
        [binding for source in sorted(vhost.outgoing) for binding in sorted(vhost.outgoing[source])],
    ]


def _read_state(rows: tuple[Any, ...]) -> State:
    _, head, settings, members, highest_node, gone, placement, access_rows, vhosts, used = rows
    state = State()
    state.applied_index, state.version, state.cluster_id, state.cluster_name = head
    state.settings = dict(settings)
    for node, name, host, port, member_state in members:
        state.members[node] = Member(node, name, host, port, MemberState(member_state))
    state.highest_node = NodeId(highest_node)
    state.gone_incarnations = dict(gone)
    state.placement = dict(placement)
    state.shard_load = dict.fromkeys(state.placement, 0)
    users, permissions, topic_permissions, limits = access_rows
    access = state.access
    for name, password_hash, tags in users:
        access.users[name] = User(name, password_hash, tags)
    for user, vhost_name, configure, write, read in permissions:
        access.permissions[user, vhost_name] = Permissions(configure, write, read)
    for user, vhost_name, exchange, write, read in topic_permissions:
        by_exchange = access.topic_permissions.setdefault((user, vhost_name), {})
        by_exchange[exchange] = TopicPermissions(write, read)
    access.limits = {user: dict(pairs) for user, pairs in limits}
    for row in vhosts:
        _read_vhost(state, row)
    state.used_queues = dict.fromkeys(used)
    return state


def _read_vhost(state: State, row: tuple[Any, ...]) -> None:
    name, description, tags, default_queue_type, limits, policies, operator_policies, *topology = row
    vhost = state.vhosts[name] = Vhost(name)
    vhost.description, vhost.tags, vhost.default_queue_type = description, tags, default_queue_type
    vhost.limits = dict(limits)
    for operator, policy_rows in ((False, policies), (True, operator_policies)):
        for policy_row in policy_rows:
            policy = Policy(*policy_row)
            vhost.policies.table(operator=operator)[policy.name] = policy
    exchanges, queues, bindings = topology
    for exchange_name, kind, durable, auto_delete, internal, table in exchanges:
        vhost.add_exchange(
            ExchangeDefinition(name, exchange_name, kind, durable, auto_delete, internal, read_arguments(table))
        )
    for queue_name, id_, durable, auto_delete, owner, table, kind, shard, home, incarnation in queues:
        state.add_queue(
            QueueDefinition(
                QueueId(id_),
                name,
                queue_name,
                durable,
                auto_delete,
                ConnectionId(owner),
                read_arguments(table),
                intern(kind),
                GroupId(shard),
                NodeId(home),
                incarnation,
            )
        )
    for binding in bindings:
        vhost.bind(Binding(*binding))
