"""How commands about the cluster, vhosts, users, policies and limits change the state.

Law: each raises before anything is changed, and may be repeated: what is gone already counts as deleted. An
administrator's mistake is a BrokerError with code 406, or 404 for something that is not there; only HTTP and the
command line ever show it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from cluster.broker.catalog.access import USER_LIMITS, Permissions, TopicPermissions, User
from cluster.broker.catalog.applying import Applying
from cluster.broker.catalog.commands import (
    ClearPermissions,
    ClearTopicPermissions,
    DeletePolicy,
    DeleteUser,
    DeleteVhost,
    PutPolicy,
    PutUser,
    PutVhost,
    SetPermissions,
    SetTopicPermissions,
    SetUserLimit,
    SetVhostLimit,
)
from cluster.broker.catalog.outcome import AccessChanged, PoliciesChanged, VhostDeleted
from cluster.broker.catalog.policies import Policy, judge_policy
from cluster.broker.catalog.queue_arguments import QUEUE_TYPES
from cluster.broker.catalog.state import State
from cluster.broker.catalog.vhost import VHOST_LIMITS, Vhost
from cluster.broker.errors import not_found, precondition_failed

V = TypeVar("V")


def put_vhost(state: State, command: PutVhost, at: Applying) -> None:
    if command.default_queue_type not in QUEUE_TYPES:
        raise precondition_failed(f"unsupported queue type '{command.default_queue_type}'")
    vhost = state.vhosts.get(command.name)
    if vhost is None:
        vhost = state.vhosts[command.name] = Vhost(command.name)
        vhost.predeclare()
    vhost.description = command.description
    vhost.tags = command.tags
    vhost.default_queue_type = command.default_queue_type
    at.touched = True


def delete_vhost(state: State, command: DeleteVhost, at: Applying) -> None:
    vhost = state.vhosts.get(command.name)
    if vhost is None:
        return
    at.delete_queues(state, list(vhost.queues.values()))
    del state.vhosts[command.name]
    state.access.forget_vhost(command.name)
    at.changes.append(VhostDeleted(command.name))
    at.touched = True


def put_user(state: State, command: PutUser, at: Applying) -> None:
    if not command.name:
        raise precondition_failed("a user's name cannot be empty")
    state.access.users[command.name] = User(command.name, command.password_hash, command.tags)
    _access_changed(at, command.name)


def delete_user(state: State, command: DeleteUser, at: Applying) -> None:
    if command.name in state.access.users:
        state.access.forget_user(command.name)
        _access_changed(at, command.name)


def set_permissions(state: State, command: SetPermissions, at: Applying) -> None:
    _require_user(state, command.user)
    _known_vhost(state, command.vhost)
    state.access.permissions[command.user, command.vhost] = Permissions(command.configure, command.write, command.read)
    _access_changed(at, command.user)


def clear_permissions(state: State, command: ClearPermissions, at: Applying) -> None:
    if state.access.permissions.pop((command.user, command.vhost), None) is not None:
        _access_changed(at, command.user)


def set_topic_permissions(state: State, command: SetTopicPermissions, at: Applying) -> None:
    _require_user(state, command.user)
    _known_vhost(state, command.vhost)
    by_exchange = state.access.topic_permissions.setdefault((command.user, command.vhost), {})
    by_exchange[command.exchange] = TopicPermissions(command.write, command.read)
    _access_changed(at, command.user)


def clear_topic_permissions(state: State, command: ClearTopicPermissions, at: Applying) -> None:
    key = (command.user, command.vhost)
    by_exchange = state.access.topic_permissions.get(key)
    if by_exchange is None:
        return
    if command.exchange is None:
        by_exchange.clear()
    else:
        by_exchange.pop(command.exchange, None)
    if not by_exchange:
        del state.access.topic_permissions[key]
    _access_changed(at, command.user)


def put_policy(state: State, command: PutPolicy, at: Applying) -> None:
    vhost = _known_vhost(state, command.vhost)
    judge_policy(command)
    definition = tuple(sorted(dict(command.definition).items()))
    vhost.policies.table(operator=command.operator)[command.name] = Policy(
        command.name, command.pattern, command.apply_to, command.priority, definition
    )
    _policies_changed(vhost, at)


def delete_policy(state: State, command: DeletePolicy, at: Applying) -> None:
    vhost = _known_vhost(state, command.vhost)
    if vhost.policies.table(operator=command.operator).pop(command.name, None) is not None:
        _policies_changed(vhost, at)


def set_vhost_limit(state: State, command: SetVhostLimit, at: Applying) -> None:
    vhost = _known_vhost(state, command.vhost)
    _put_limit(vhost.limits, command.limit, command.value, VHOST_LIMITS)
    at.touched = True


def set_user_limit(state: State, command: SetUserLimit, at: Applying) -> None:
    _require_user(state, command.user)
    limits = dict(state.access.limits.get(command.user, {}))
    _put_limit(limits, command.limit, command.value, USER_LIMITS)
    if limits:
        state.access.limits[command.user] = limits
    else:
        state.access.limits.pop(command.user, None)
    _access_changed(at, command.user)


def _put_limit(limits: dict[str, int], name: str, value: int | None, known: Iterable[str]) -> None:
    if name not in known:
        raise precondition_failed(f"limit '{name}' is not one of {', '.join(known)}")
    if value is None or value < 0:
        limits.pop(name, None)
    else:
        limits[name] = value


def _known_vhost(state: State, name: str) -> Vhost:
    vhost = state.vhosts.get(name)
    if vhost is None:
        raise not_found(f"no vhost '{name}'")
    return vhost


def _require_user(state: State, name: str) -> None:
    if name not in state.access.users:
        raise not_found(f"no user '{name}'")


def _access_changed(at: Applying, user: str) -> None:
    at.changes.append(AccessChanged(user))
    at.touched = True


def _policies_changed(vhost: Vhost, at: Applying) -> None:
    vhost.refresh_alternates()
    at.changes.append(PoliciesChanged(vhost.name))
    at.touched = True
