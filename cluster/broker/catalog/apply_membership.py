"""How commands about the cluster itself change the state: its founding, members, settings, places of shards.

Law: each raises before anything is changed. A node's id is never given twice; a shard's replicas are members. A name
is that of one member, those that are GONE aside.
"""

from __future__ import annotations

from dataclasses import replace

from cluster.broker.catalog.access import Permissions, User
from cluster.broker.catalog.applying import Applying
from cluster.broker.catalog.commands import (
    KEEP_STATE,
    AdmitMember,
    FoundCluster,
    PlaceShard,
    PutMember,
    PutSetting,
    RemoveMember,
    SurviveAlone,
)
from cluster.broker.catalog.ids import GroupId, NodeId
from cluster.broker.catalog.outcome import AccessChanged, MemberChanged, ShardPlaced
from cluster.broker.catalog.state import Member, MemberState, State
from cluster.broker.catalog.vhost import Vhost
from cluster.broker.errors import not_found, precondition_failed


def found_cluster(state: State, command: FoundCluster, at: Applying) -> None:
    if state.cluster_id:
        if state.cluster_id == command.cluster_id:
            return
        raise precondition_failed(f"the cluster is founded already, as {state.cluster_id}")
    if not command.cluster_id or not command.members or not command.placement:
        raise precondition_failed("a cluster needs an id, members and shards")
    nodes = {node for node, _, _, _ in command.members}
    for group, replicas in command.placement:
        if group <= 0 or not replicas or not nodes.issuperset(replicas):
            raise precondition_failed(f"shard {group} is not placed on members")
    state.cluster_id = command.cluster_id
    state.cluster_name = command.cluster_name
    for node, name, host, port in command.members:
        _put_member(state, Member(NodeId(node), name, host, port, MemberState.ACTIVE), at)
    for group, replicas in command.placement:
        _place(state, GroupId(group), replicas, at)
    vhost = state.vhosts[command.default_vhost] = Vhost(command.default_vhost)
    vhost.predeclare()
    user = command.default_user
    state.access.users[user] = User(user, command.password_hash, ("administrator",))
    state.access.permissions[user, vhost.name] = Permissions(".*", ".*", ".*")
    at.changes.append(AccessChanged(user))
    at.touched = True


def put_setting(state: State, command: PutSetting, at: Applying) -> None:
    if command.value is None:
        state.settings.pop(command.name, None)
    else:
        state.settings[command.name] = command.value
    at.touched = True


def put_member(state: State, command: PutMember, at: Applying) -> None:
    node = NodeId(command.node)
    if node not in state.members and node <= state.highest_node:
        raise precondition_failed(f"node id {node} was used before")
    other = _named(state, command.name)
    if other is not None and other.node != node:
        raise precondition_failed(f"node name '{command.name}' is that of node {other.node}")
    known = state.members.get(node)
    if known is not None and known.state is MemberState.GONE:
        raise precondition_failed(f"node {node} has lost its data and does not come back")
    value = int(known.state) if known is not None and command.state == KEEP_STATE else command.state
    if value not in tuple(MemberState):
        raise precondition_failed(f"member state {command.state} does not exist")
    token = known.token if known is not None else ""
    member = Member(node, command.name, command.host, command.port, MemberState(value), token)
    _put_member(state, member, at)


def admit_member(state: State, command: AdmitMember, at: Applying) -> None:
    if not state.cluster_id or not command.name or not command.token:
        raise precondition_failed("who joins a cluster needs a name and a directory")
    known = _named(state, command.name)
    if known is not None:
        if known.token == command.token:
            return
        _put_member(state, replace(known, state=MemberState.GONE), at)
    node = NodeId(state.highest_node + 1)
    joining = Member(node, command.name, command.host, command.port, MemberState.JOINING, command.token)
    _put_member(state, joining, at)


def survive_alone(state: State, command: SurviveAlone, at: Applying) -> None:
    if not state.cluster_id or not command.cluster_id or not 0 < command.node <= state.highest_node:
        raise precondition_failed("only a member of a cluster can be left of it")
    node = NodeId(command.node)
    known = state.members.get(node, Member(node, command.name, "", 0, MemberState.ACTIVE))
    state.cluster_id = command.cluster_id
    for group in sorted(state.placement):
        _place(state, group, (node,), at)
    for other in sorted(state.members):
        if other != node:
            remove_member(state, RemoveMember(other), at)
    _put_member(state, replace(known, state=MemberState.ACTIVE), at)


def remove_member(state: State, command: RemoveMember, at: Applying) -> None:
    node = NodeId(command.node)
    if node not in state.members:
        return
    for group in sorted(state.placement):
        if node in state.placement[group]:
            raise precondition_failed(f"node {node} holds a replica of shard {group}")
    at.delete_queues(state, [state.queue_by_id[queue] for queue in state.by_home.get(node, ())])
    del state.members[node]
    state.gone_incarnations.pop(node, None)
    at.changes.append(MemberChanged(node))


def place_shard(state: State, command: PlaceShard, at: Applying) -> None:
    for node in command.nodes:
        if node not in state.members:
            raise not_found(f"no node {node}")
    if command.group <= 0 or not command.nodes or len(dict.fromkeys(command.nodes)) != len(command.nodes):
        raise precondition_failed(f"shard {command.group} needs replicas on different members")
    _place(state, GroupId(command.group), command.nodes, at)


def _named(state: State, name: str) -> Member | None:
    found = (m for m in state.members.values() if m.name == name and m.state is not MemberState.GONE)
    return next(found, None)


def _put_member(state: State, member: Member, at: Applying) -> None:
    state.members[member.node] = member
    state.highest_node = max(state.highest_node, member.node)
    at.changes.append(MemberChanged(member.node))


def _place(state: State, group: GroupId, replicas: tuple[int, ...], at: Applying) -> None:
    nodes = tuple([NodeId(node) for node in replicas])
    state.placement[group] = nodes
    state.shard_load.setdefault(group, 0)
    at.changes.append(ShardPlaced(group, nodes))
