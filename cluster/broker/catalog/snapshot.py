"""The catalog's state as octets.

Law: canonical: equal states give equal octets, whatever order things happened in, so the octets' hash is the state's
hash. Everything is written sorted. A program reads every version up to its own; a newer one raises, and the node
stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from itertools import islice
from sys import intern
from typing import Any, Final, TypeVar

import msgpack

from cluster.broker.catalog.access import Permissions, TopicPermissions, User
from cluster.broker.catalog.arguments import read_arguments
from cluster.broker.catalog.definitions import Binding, ExchangeDefinition, QueueDefinition
from cluster.broker.catalog.ids import ConnectionId, GroupId, NodeId, QueueId
from cluster.broker.catalog.policies import Policy
from cluster.broker.catalog.state import Member, MemberState, State
from cluster.broker.catalog.vhost import Vhost

SNAPSHOT_VERSION: Final = 3
"""1 did not tell which queues have been used, 2 no member that joined. The oldest that says everything is written, so
that an older program can go on while nobody has joined."""
_VERSION_OF_FOUNDERS: Final = 2
PIECE_ROWS: Final = 1000
"""Rows that are written in one go."""
SORTED_ROWS: Final = 4096
"""Rows that are sorted in one go: a few milliseconds, like the writing."""

K = TypeVar("K", str, Binding)


class UnknownSnapshot(Exception):
    """These octets are no snapshot that this program can read. The node must not go on."""


class Draft:
    """A state as it is now, to be written bit by bit while it changes.

    Making one costs a copy of the state's tables, of references alone: what stands in them never changes.
    """

    def __init__(self, state: State) -> None:
        access = state.access
        self._head = [
            SNAPSHOT_VERSION if any(member.token for member in state.members.values()) else _VERSION_OF_FOUNDERS,
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
        ]
        self._vhosts = [_FrozenVhost(vhost) for _, vhost in sorted(state.vhosts.items())]
        self._used_queues = sorted(state.used_queues)

    def pieces(self) -> Iterator[bytes]:
        """The snapshot's octets; each piece costs a few milliseconds at most, and may be empty."""
        packer = msgpack.Packer()
        yield packer.pack_array_header(len(self._head) + 2) + b"".join([packer.pack(part) for part in self._head])
        yield packer.pack_array_header(len(self._vhosts))
        for vhost in self._vhosts:
            bindings = sum(map(len, vhost.bindings))
            yield packer.pack_array_header(len(vhost.head) + 3) + b"".join([packer.pack(part) for part in vhost.head])
            yield packer.pack_array_header(len(vhost.exchanges))
            yield from _rows(packer, list(vhost.exchanges), vhost.exchange_row)
            yield packer.pack_array_header(len(vhost.queues))
            yield from _rows(packer, list(vhost.queues), vhost.queue_row)
            yield packer.pack_array_header(bindings)
            for of_source in vhost.bindings:
                yield from _rows(packer, of_source, _binding_row)
        yield packer.pack(self._used_queues)


class _FrozenVhost:
    """`bindings` stand by source, in the order of the sources; within everything the order is any."""

    __slots__ = ("bindings", "exchanges", "head", "queues")

    def __init__(self, vhost: Vhost) -> None:
        self.head = [
            vhost.name,
            vhost.description,
            vhost.tags,
            vhost.default_queue_type,
            _pairs(vhost.limits),
            _policy_rows(vhost.policies.by_name),
            _policy_rows(vhost.policies.operator_by_name),
        ]
        self.exchanges = dict(vhost.exchanges)
        self.queues = dict(vhost.queues)
        self.bindings = [list(vhost.outgoing[source]) for source in sorted(vhost.outgoing)]

    def exchange_row(self, name: str) -> list[object]:
        exchange = self.exchanges[name]
        return [
            name,
            exchange.type,
            exchange.durable,
            exchange.auto_delete,
            exchange.internal,
            exchange.arguments.table,
        ]

    def queue_row(self, name: str) -> list[object]:
        queue = self.queues[name]
        return [
            name,
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


def encode_state(state: State) -> bytes:
    """The whole state."""
    return b"".join(Draft(state).pieces())


def _rows(packer: msgpack.Packer, keys: list[K], row: Callable[[K], object]) -> Iterator[bytes]:
    """The rows of all keys, sorted. They are sorted in parts, each a piece of its own that brings no octets yet."""
    parts: list[list[K]] = []
    for at in range(0, len(keys), SORTED_ROWS):
        if at:
            yield b""
        parts.append(sorted(keys[at : at + SORTED_ROWS]))
    ordered = iter(parts[0]) if len(parts) == 1 else merge(*parts)
    while piece := [packer.pack(row(key)) for key in islice(ordered, PIECE_ROWS)]:
        yield b"".join(piece)


def decode_state(data: bytes) -> State:
    """Raises UnknownSnapshot."""
    try:
        rows = msgpack.unpackb(data, use_list=False, strict_map_key=False)
        if rows[0] == 1:
            rows = (*rows, ())
        elif rows[0] not in (_VERSION_OF_FOUNDERS, SNAPSHOT_VERSION):
            raise UnknownSnapshot(f"catalog snapshot version {rows[0]} is not known")
        return _read_state(rows)
    except (ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException) as error:
        raise UnknownSnapshot(f"not a catalog snapshot: {error}") from error


def _pairs(table: Mapping[Any, object]) -> list[list[object]]:
    return [[key, table[key]] for key in sorted(table)]


def _member_row(member: Member) -> list[object]:
    row: list[object] = [member.node, member.name, member.host, member.port, int(member.state)]
    return [*row, member.token] if member.token else row


def _policy_rows(policies: Mapping[str, Policy]) -> list[list[object]]:
    return [
        [policy.name, policy.pattern, policy.apply_to, policy.priority, policy.definition]
        for _, policy in sorted(policies.items())
    ]


def _binding_row(binding: Binding) -> Binding:
    return binding


def _read_state(rows: tuple[Any, ...]) -> State:
    _, head, settings, members, highest_node, gone, placement, access_rows, vhosts, used = rows
    state = State()
    state.applied_index, state.version, state.cluster_id, state.cluster_name = head
    state.settings = dict(settings)
    for node, name, host, port, member_state, *token in members:
        state.members[node] = Member(node, name, host, port, MemberState(member_state), *token)
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
