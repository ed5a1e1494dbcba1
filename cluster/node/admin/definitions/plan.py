"""What a definitions document would change.

Law: it changes nothing, and what it calls no change is not proposed: to import a document twice costs no write. A
queue or exchange that exists otherwise than the document says is never touched; a warning names it and the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.access import Permissions, TopicPermissions, User
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.exchange_rules import binding_of
from cluster.broker.catalog.exchange_rules import judge_declare as judge_exchange
from cluster.broker.catalog.policies import Policy
from cluster.broker.catalog.queue_rules import judge_declare as judge_queue
from cluster.broker.errors import BrokerError
from cluster.node.admin.definitions.parse import Command, Item, explanation
from cluster.node.admin.gently import gently


class Action(Enum):
    CREATE = "create"
    CHANGE = "change"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Step:
    action: Action
    item: Item


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps that change something, in order, and what was left alone."""

    steps: tuple[Step, ...]
    unchanged: int
    warnings: tuple[str, ...]


async def plan(items: Sequence[Item], catalog: Catalog) -> Plan:
    """Passwords must have been hashed."""
    steps: list[Step] = []
    warnings: list[str] = []
    unchanged = 0
    async for item in gently(items):
        try:
            action = judge(item.command, catalog)
        except BrokerError as error:
            warnings.append(f"{item.label} stays as it is: {explanation(error)}")
            continue
        if action is Action.SAME:
            unchanged += 1
        else:
            steps.append(Step(action, item))
    return Plan(tuple(steps), unchanged, tuple(warnings))


def judge(command: Command, catalog: Catalog) -> Action:
    """Raises BrokerError for a queue or exchange that exists otherwise."""
    match command:
        case c.PutVhost():
            vhost = catalog.vhosts.get(command.name)
            if vhost is None:
                return Action.CREATE
            now = c.PutVhost(vhost.name, vhost.description, vhost.tags, vhost.default_queue_type)
            return _changed(same=now == command)
        case c.PutUser():
            user = User(command.name, command.password_hash, command.tags)
            return _against(catalog.users.get(command.name), user)
        case c.SetPermissions():
            permissions = Permissions(command.configure, command.write, command.read)
            return _against(catalog.access.permissions.get((command.user, command.vhost)), permissions)
        case c.SetTopicPermissions():
            held = catalog.access.topic_permissions.get((command.user, command.vhost), {})
            return _against(held.get(command.exchange), TopicPermissions(command.write, command.read))
        case c.PutSetting():
            return _against(catalog.settings.get(command.name), command.value)
        case c.SetUserLimit():
            return _limit(catalog.user_limits(command.user).get(command.limit), command.value)
        case _:
            return _in_vhost(command, catalog)


def _in_vhost(
    command: c.PutPolicy | c.SetVhostLimit | c.DeclareQueue | c.DeclareExchange | c.BindQueue | c.BindExchange,
    catalog: Catalog,
) -> Action:
    vhost = catalog.vhosts.get(command.vhost)
    if vhost is None:
        return Action.CREATE
    match command:
        case c.PutPolicy():
            known = vhost.policies.table(operator=command.operator).get(command.name)
            policy = Policy(command.name, command.pattern, command.apply_to, command.priority, command.definition)
            return _against(known, policy)
        case c.SetVhostLimit():
            return _limit(vhost.limits.get(command.limit), command.value)
        case c.DeclareQueue():
            if command.name not in vhost.queues:
                return Action.CREATE
            judge_queue(vhost, command)
            return Action.SAME
        case c.DeclareExchange():
            if command.name not in vhost.exchanges:
                return Action.CREATE
            judge_exchange(vhost, command)
            return Action.SAME
        case c.BindQueue() | c.BindExchange():
            binding = binding_of(command)
            return Action.SAME if binding in vhost.outgoing.get(binding.source, ()) else Action.CREATE


def _against(known: object, wanted: object) -> Action:
    return Action.CREATE if known is None else _changed(same=known == wanted)


def _limit(known: int | None, wanted: int | None) -> Action:
    if wanted is not None and wanted < 0:
        wanted = None
    if known is None and wanted is not None:
        return Action.CREATE
    return _changed(same=known == wanted)


def _changed(*, same: bool) -> Action:
    return Action.SAME if same else Action.CHANGE
