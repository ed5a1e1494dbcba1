"""The catalog: what the cluster is made of, as one deterministic machine.

Law: the state is a function of the commands applied, in order, and of nothing else: no clock, no randomness, no
order of sets or hashes. `apply` never fails for what a client did: that is a `Refused`. Reads are synchronous and
see every command applied so far. `version` has not changed means that routes and permissions have not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from cluster.amqp.field_table import FieldValue
from cluster.broker.catalog import apply_administration as administration
from cluster.broker.catalog import apply_membership as membership
from cluster.broker.catalog import apply_topology as topology
from cluster.broker.catalog import commands as c
from cluster.broker.catalog.access import Access, User
from cluster.broker.catalog.applying import Applying
from cluster.broker.catalog.checks import Checks
from cluster.broker.catalog.codec import decode_command
from cluster.broker.catalog.definitions import ExchangeDefinition, QueueDefinition, Route
from cluster.broker.catalog.ids import ORDINAL_MAX, GroupId, NodeId, QueueId
from cluster.broker.catalog.outcome import Change, Ok, Outcome, Refused
from cluster.broker.catalog.snapshot import Draft, decode_state, encode_state
from cluster.broker.catalog.state import Member, State
from cluster.broker.catalog.vhost import Vhost
from cluster.broker.errors import BrokerError, access_refused, no_exchange, precondition_failed
from cluster.broker.routing.hashing import PropertyLoader
from cluster.broker.routing.headers import HeadersLoader
from cluster.broker.routing.table import no_property

_HANDLERS: Final[Mapping[type[c.SingleCommand], Callable[[State, Any, Applying], object]]] = {
    c.FoundCluster: membership.found_cluster,
    c.PutSetting: membership.put_setting,
    c.PutMember: membership.put_member,
    c.RemoveMember: membership.remove_member,
    c.AdmitMember: membership.admit_member,
    c.SurviveAlone: membership.survive_alone,
    c.PlaceShard: membership.place_shard,
    c.NodeGone: topology.node_gone,
    c.ConnectionGone: topology.connection_gone,
    c.PutVhost: administration.put_vhost,
    c.DeleteVhost: administration.delete_vhost,
    c.PutUser: administration.put_user,
    c.DeleteUser: administration.delete_user,
    c.SetPermissions: administration.set_permissions,
    c.ClearPermissions: administration.clear_permissions,
    c.SetTopicPermissions: administration.set_topic_permissions,
    c.ClearTopicPermissions: administration.clear_topic_permissions,
    c.PutPolicy: administration.put_policy,
    c.DeletePolicy: administration.delete_policy,
    c.SetVhostLimit: administration.set_vhost_limit,
    c.SetUserLimit: administration.set_user_limit,
    c.DeclareExchange: topology.declare_exchange,
    c.DeleteExchange: topology.delete_exchange,
    c.BindQueue: topology.bind,
    c.UnbindQueue: topology.unbind,
    c.BindExchange: topology.bind,
    c.UnbindExchange: topology.unbind,
    c.DeclareQueue: topology.declare_queue,
    c.DeleteQueue: topology.delete_queue,
    c.QueueUsed: topology.queue_used,
}
_NOWHERE: Final = Route((), False)
_NO_HEADERS: Final[Mapping[str, FieldValue]] = {}


def no_headers() -> Mapping[str, FieldValue]:
    """The headers of a message that has none."""
    return _NO_HEADERS


class Catalog:
    """One replica's copy of the cluster's metadata."""

    def __init__(self) -> None:
        self._state = State()
        self.checks = Checks(self._state)

    # The machine.

    def apply(self, index: int, data: bytes) -> Outcome:
        """Apply the command of the log entry at `index`, which must rise from call to call.

        Raises UnknownCommand for what only a newer program can apply; nothing has changed then.
        """
        return self.apply_decoded(index, *decode_command(data))

    def apply_decoded(self, index: int, request_id: bytes, command: c.Command) -> Outcome:
        """The same for what is decoded."""
        state = self._state
        assert index > state.applied_index, "entries are applied once and in order"
        state.applied_index = index
        if not isinstance(command, c.Several):
            return self._apply_single(request_id, command, Applying(index, 0))
        if len(command.commands) > ORDINAL_MAX + 1:
            return Refused(request_id, precondition_failed(f"more than {ORDINAL_MAX + 1} commands in one"))
        outcomes: list[Outcome] = []
        changes: list[Change] = []
        for ordinal, single in enumerate(command.commands):
            outcome = self._apply_single(request_id, single, Applying(index, ordinal))
            outcomes.append(outcome)
            if isinstance(outcome, Ok):
                changes.extend(outcome.changes)
        return Ok(request_id, tuple(outcomes), tuple(changes))

    def to_propose(self, command: c.SingleCommand) -> c.SingleCommand:
        """The command as a leader proposes it, whose copy this is: decided where replicas might not agree."""
        return topology.placed(self._state, command) if isinstance(command, c.DeclareQueue) else command

    def _apply_single(self, request_id: bytes, command: c.SingleCommand, at: Applying) -> Outcome:
        try:
            value = _HANDLERS[type(command)](self._state, command, at)
        except BrokerError as error:
            assert not at.changes, "a refused command changes nothing"
            return Refused(request_id, error)
        if at.touched:
            self._state.version += 1
        return Ok(request_id, value, tuple(at.changes))

    def snapshot(self) -> bytes:
        """The whole state; equal states give equal octets."""
        return encode_state(self._state)

    def draft(self) -> Draft:
        """The same, to be written while commands go on being applied."""
        return Draft(self._state)

    def restore(self, snapshot: bytes) -> None:
        """Become the state of a snapshot. Raises UnknownSnapshot; nothing has changed then."""
        self._state = decode_state(snapshot)
        self.checks.look_at(self._state)

    def state_hash(self) -> str:
        """SHA-256 of the snapshot, in hexadecimal: equal on replicas that applied the same commands."""
        return sha256(self.snapshot()).hexdigest()

    # What is read from it.

    @property
    def version(self) -> int:
        """Rises with every change that can affect routing, permissions, limits or settings of queues."""
        return self._state.version

    @property
    def applied_index(self) -> int:
        """Log index of the last command applied; 0 before the first."""
        return self._state.applied_index

    @property
    def cluster_id(self) -> str:
        """ "" until the cluster is founded."""
        return self._state.cluster_id

    @property
    def cluster_name(self) -> str:
        return self._state.cluster_name

    @property
    def settings(self) -> Mapping[str, c.Scalar]:
        return self._state.settings

    @property
    def members(self) -> Mapping[NodeId, Member]:
        return self._state.members

    @property
    def next_node(self) -> NodeId:
        """An id that no member ever had."""
        return NodeId(self._state.highest_node + 1)

    @property
    def placement(self) -> Mapping[GroupId, tuple[NodeId, ...]]:
        """shard -> the nodes of its replicas"""
        return self._state.placement

    @property
    def vhosts(self) -> Mapping[str, Vhost]:
        """For reading only."""
        return self._state.vhosts

    @property
    def users(self) -> Mapping[str, User]:
        return self._state.access.users

    @property
    def access(self) -> Access:
        """Users, permissions and limits. For reading only."""
        return self._state.access

    def user_limits(self, user: str) -> Mapping[str, int]:
        """limit -> value, for the limits that are set."""
        return self._state.access.limits_of(user)

    @property
    def queues(self) -> Mapping[QueueId, QueueDefinition]:
        """Every queue of every vhost, by id."""
        return self._state.queue_by_id

    def queues_at(self, node: NodeId) -> list[QueueDefinition]:
        """Those that live in a node's memory, in ascending order of their ids."""
        return [self._state.queue_by_id[queue] for queue in sorted(self._state.by_home.get(node, ()))]

    @property
    def used_queues(self) -> Mapping[QueueId, None]:
        """Replicated auto-delete queues that have had a consumer, in the order of their first ones."""
        return self._state.used_queues

    def queues_of_shard(self, group: GroupId) -> int:
        """How many queues the shard holds."""
        return self._state.shard_load.get(group, 0)

    def exchange(self, vhost: str, name: str) -> ExchangeDefinition | None:
        """Raises BrokerError (530) if there is no such vhost."""
        return self._state.vhost(vhost).exchanges.get(name)

    def queue(self, vhost: str, name: str) -> QueueDefinition | None:
        """Raises BrokerError (530) if there is no such vhost."""
        return self._state.vhost(vhost).queues.get(name)

    def queue_settings(self, queue: QueueDefinition) -> dict[str, FieldValue]:
        """What holds for a queue from arguments and policies together, see `Policies.queue_settings`."""
        return self._state.vhost(queue.vhost).policies.queue_settings(queue)

    def route(
        self,
        vhost: str,
        exchange: str,
        routing_key: str,
        headers: HeadersLoader = no_headers,
        more_keys: Sequence[str] = (),
        properties: PropertyLoader = no_property,
    ) -> Route:
        """Where a client's message goes; `more_keys` are those of CC and BCC. Permissions are `checks`' matter.

        Raises BrokerError: 404 no such exchange, 403 internal exchange, 530 no such vhost.
        """
        place = self._state.vhost(vhost)
        if not exchange and not more_keys:
            queue = place.queues.get(routing_key)
            return _NOWHERE if queue is None else Route((queue,), False)
        definition = place.exchanges.get(exchange)
        if definition is None:
            raise no_exchange(vhost, exchange)
        if definition.internal:
            raise access_refused(f"cannot publish to internal {definition.label}")
        return self._route(place, exchange, (routing_key, *more_keys), headers, properties)

    def route_dead_letter(
        self,
        vhost: str,
        exchange: str,
        routing_keys: Sequence[str],
        headers: HeadersLoader = no_headers,
        properties: PropertyLoader = no_property,
    ) -> Route | None:
        """Where the broker's own message goes, internal exchanges included. None if there is no such exchange."""
        place = self._state.vhosts.get(vhost)
        if place is None or exchange not in place.exchanges:
            return None
        return self._route(place, exchange, routing_keys, headers, properties)

    def _route(
        self,
        vhost: Vhost,
        exchange: str,
        routing_keys: Sequence[str],
        headers: HeadersLoader,
        properties: PropertyLoader,
    ) -> Route:
        routed = vhost.routing.route(exchange, routing_keys, headers, properties)
        queue_by_id = self._state.queue_by_id
        return Route(tuple([queue_by_id[QueueId(queue)] for queue in routed.queues]), routed.by_headers)
