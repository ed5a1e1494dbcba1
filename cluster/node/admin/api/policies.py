"""Policies and operator policies.

Law: policies are a policymaker's on vhosts that the user may open; operator policies an administrator's. A pattern
that does not compile is refused before it is proposed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.access import check_pattern
from cluster.broker.catalog.policies import Policy, judge_policy, refuse_zero_times
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint, Handler
from cluster.node.admin.api.caller import ADMINISTRATOR, MANAGEMENT, POLICYMAKER
from cluster.node.admin.api.fields import BadField, Document, field

_EVERY_NAME: Final = "(?:)"
"""How the catalog keeps an empty pattern. It means every name in a policy, and none in a permission, and the catalog
has one meaning for it, that of permissions, on which replicas of all versions agree."""


def policy_document(vhost: str, policy: Policy) -> Document:
    return {
        "vhost": vhost,
        "name": policy.name,
        "pattern": "" if policy.pattern == _EVERY_NAME else policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": policy.priority,
    }


def policy_documents(vhosts: Iterable[Vhost], *, operator: bool) -> list[Document]:
    """By vhost and name."""
    return [
        policy_document(vhost.name, policy)
        for vhost in vhosts
        for _, policy in sorted(vhost.policies.table(operator=operator).items())
    ]


def read_policy(vhost: str, name: str, document: Document, *, operator: bool) -> c.PutPolicy:
    """Raises BadField, BrokerError (406)."""
    definition = field(document, "definition", dict)
    for key, value in definition.items():
        if isinstance(value, float | list | dict) or value is None:
            raise BadField(f"'{key}' of policy '{name}' must be a whole number or a string")
    command = c.PutPolicy(
        vhost,
        name,
        field(document, "pattern", str) or _EVERY_NAME,
        field(document, "apply-to", str, "all"),
        field(document, "priority", int, 0),
        tuple(sorted(definition.items())),
        operator,
    )
    check_pattern(command.pattern)
    judge_policy(command)
    refuse_zero_times(command)
    return command


def _endpoints(path: str, tags: frozenset[str], *, operator: bool) -> list[Endpoint]:
    def known(asked: Asked, vhost: Vhost) -> Policy:
        name = asked.part("name")
        policy = vhost.policies.table(operator=operator).get(name)
        if policy is None:
            raise HTTPException(404, f"no {'operator ' * operator}policy '{name}' in vhost '{vhost.name}'")
        return policy

    async def policies(asked: Asked) -> Response:
        vhosts = [asked.vhost()] if "vhost" in asked.request.path_params else asked.caller.vhosts()
        return await listed(asked, policy_documents(vhosts, operator=operator), dict)

    async def policy(asked: Asked) -> Response:
        vhost = asked.vhost()
        return found(asked, policy_document(vhost.name, known(asked, vhost)))

    async def put(asked: Asked) -> Response:
        """`{"pattern", "definition", "priority", "apply-to"}`."""
        vhost, name = asked.vhost_to_change(), asked.part("name")
        command = read_policy(vhost.name, name, await asked.body(), operator=operator)
        new = name not in vhost.policies.table(operator=operator)
        await asked.node.operations.submit(command)
        return changed(new=new)

    async def delete(asked: Asked) -> Response:
        vhost = asked.vhost_to_change()
        await asked.node.operations.submit(c.DeletePolicy(vhost.name, known(asked, vhost).name, operator))
        return nothing()

    handlers: tuple[tuple[str, str, frozenset[str], Handler], ...] = (
        ("GET", "", MANAGEMENT, policies),
        ("GET", "/{vhost}", MANAGEMENT, policies),
        ("GET", "/{vhost}/{name}", MANAGEMENT, policy),
        ("PUT", "/{vhost}/{name}", tags, put),
        ("DELETE", "/{vhost}/{name}", tags, delete),
    )
    return [Endpoint(method, path + rest, needed, handler) for method, rest, needed, handler in handlers]


ENDPOINTS = (
    *_endpoints("/api/policies", POLICYMAKER, operator=False),
    *_endpoints("/api/operator-policies", ADMINISTRATOR, operator=True),
)
