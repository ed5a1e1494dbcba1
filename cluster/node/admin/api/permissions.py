"""Permissions and topic permissions, as lists, by user, by vhost, and one by one.

Law: a regular expression that does not compile is refused here, before it is proposed. User and vhost must exist; the
exchange of a topic permission need not.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.access import check_pattern
from cluster.broker.catalog.catalog import Catalog
from cluster.node.admin.api.answers import changed, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR
from cluster.node.admin.api.fields import Document, field


def permission_documents(catalog: Catalog) -> list[Document]:
    """By vhost and user."""
    held = sorted(catalog.access.permissions.items(), key=lambda item: (item[0][1], item[0][0]))
    return [
        {"user": user, "vhost": vhost, "configure": p.configure, "write": p.write, "read": p.read}
        for (user, vhost), p in held
    ]


def topic_permission_documents(catalog: Catalog) -> list[Document]:
    """By vhost, user and exchange."""
    held = sorted(catalog.access.topic_permissions.items(), key=lambda item: (item[0][1], item[0][0]))
    return [
        {"user": user, "vhost": vhost, "exchange": exchange, "write": p.write, "read": p.read}
        for (user, vhost), by_exchange in held
        for exchange, p in sorted(by_exchange.items())
    ]


def read_permission(user: str, vhost: str, document: Document) -> c.SetPermissions:
    """Raises BadField, BrokerError (406, a broken expression)."""
    patterns = [field(document, key, str) for key in ("configure", "write", "read")]
    for pattern in patterns:
        check_pattern(pattern)
    return c.SetPermissions(user, vhost, *patterns)


def read_topic_permission(user: str, vhost: str, document: Document) -> c.SetTopicPermissions:
    """Raises BadField, BrokerError (406, a broken expression)."""
    exchange = field(document, "exchange", str)
    patterns = [field(document, key, str) for key in ("write", "read")]
    for pattern in patterns:
        check_pattern(pattern.replace("{username}", "x").replace("{vhost}", "x"))
    return c.SetTopicPermissions(user, vhost, exchange, *patterns)


def _place(asked: Asked) -> tuple[str, str]:
    """User and vhost of the path, which exist. Raises HTTPException 404."""
    user, vhost = asked.part("user"), asked.part("vhost")
    if vhost not in asked.catalog.vhosts:
        raise HTTPException(404, f"no vhost '{vhost}'")
    if user not in asked.catalog.users:
        raise HTTPException(404, f"no user '{user}'")
    return user, vhost


async def _answer(asked: Asked, documents: Iterable[Document]) -> Response:
    """Those of the user and vhost in the path, where it names them."""
    parts = asked.request.path_params
    if "user" in parts and asked.part("user") not in asked.catalog.users:
        raise HTTPException(404, f"no user '{asked.part('user')}'")
    if "vhost" in parts and asked.part("vhost") not in asked.catalog.vhosts:
        raise HTTPException(404, f"no vhost '{asked.part('vhost')}'")
    wanted = {name: asked.part(name) for name in parts}
    kept = [d for d in documents if all(d[name] == value for name, value in wanted.items())]
    return await listed(asked, kept, dict)


async def permissions(asked: Asked) -> Response:
    return await _answer(asked, permission_documents(asked.catalog))


async def permission(asked: Asked) -> Response:
    user, vhost = _place(asked)
    for document in permission_documents(asked.catalog):
        if (document["user"], document["vhost"]) == (user, vhost):
            return found(asked, document)
    raise HTTPException(404, f"user '{user}' has no permissions on vhost '{vhost}'")


async def put(asked: Asked) -> Response:
    """`{"configure", "write", "read"}`."""
    user, vhost = _place(asked)
    command = read_permission(user, vhost, await asked.body())
    new = (user, vhost) not in asked.catalog.access.permissions
    await asked.node.operations.submit(command)
    return changed(new=new)


async def delete(asked: Asked) -> Response:
    user, vhost = _place(asked)
    if (user, vhost) not in asked.catalog.access.permissions:
        raise HTTPException(404, f"user '{user}' has no permissions on vhost '{vhost}'")
    await asked.node.operations.submit(c.ClearPermissions(user, vhost))
    return nothing()


async def topic_permissions(asked: Asked) -> Response:
    return await _answer(asked, topic_permission_documents(asked.catalog))


async def topic_permissions_of(asked: Asked) -> Response:
    user, vhost = _place(asked)
    if not asked.catalog.access.topic_permissions.get((user, vhost)):
        raise HTTPException(404, f"user '{user}' has no topic permissions on vhost '{vhost}'")
    return await topic_permissions(asked)


async def topic_permissions_on(asked: Asked) -> Response:
    """On one exchange: a list of one, as in RabbitMQ."""
    user, vhost = _place(asked)
    exchange = asked.part("exchange")
    wanted = {"user": user, "vhost": vhost, "exchange": exchange}
    kept = [document for document in topic_permission_documents(asked.catalog) if wanted.items() <= document.items()]
    if not kept:
        raise HTTPException(404, f"user '{user}' has no topic permissions on exchange '{exchange}' in vhost '{vhost}'")
    return await listed(asked, kept, dict)


async def put_topic(asked: Asked) -> Response:
    """`{"exchange", "write", "read"}`."""
    user, vhost = _place(asked)
    command = read_topic_permission(user, vhost, await asked.body())
    new = command.exchange not in asked.catalog.access.topic_permissions.get((user, vhost), {})
    await asked.node.operations.submit(command)
    return changed(new=new)


async def delete_topic(asked: Asked) -> Response:
    user, vhost = _place(asked)
    exchange = asked.part("exchange") if "exchange" in asked.request.path_params else None
    held = asked.catalog.access.topic_permissions.get((user, vhost), {})
    if not held or (exchange is not None and exchange not in held):
        raise HTTPException(404, f"user '{user}' has no such topic permissions on vhost '{vhost}'")
    await asked.node.operations.submit(c.ClearTopicPermissions(user, vhost, exchange))
    return nothing()


ENDPOINTS = (
    Endpoint("GET", "/api/permissions", ADMINISTRATOR, permissions),
    Endpoint("GET", "/api/users/{user}/permissions", ADMINISTRATOR, permissions),
    Endpoint("GET", "/api/vhosts/{vhost}/permissions", ADMINISTRATOR, permissions),
    Endpoint("GET", "/api/permissions/{vhost}/{user}", ADMINISTRATOR, permission),
    Endpoint("PUT", "/api/permissions/{vhost}/{user}", ADMINISTRATOR, put),
    Endpoint("DELETE", "/api/permissions/{vhost}/{user}", ADMINISTRATOR, delete),
    Endpoint("GET", "/api/topic-permissions", ADMINISTRATOR, topic_permissions),
    Endpoint("GET", "/api/users/{user}/topic-permissions", ADMINISTRATOR, topic_permissions),
    Endpoint("GET", "/api/vhosts/{vhost}/topic-permissions", ADMINISTRATOR, topic_permissions),
    Endpoint("GET", "/api/topic-permissions/{vhost}/{user}", ADMINISTRATOR, topic_permissions_of),
    Endpoint("GET", "/api/topic-permissions/{vhost}/{user}/{exchange}", ADMINISTRATOR, topic_permissions_on),
    Endpoint("PUT", "/api/topic-permissions/{vhost}/{user}", ADMINISTRATOR, put_topic),
    Endpoint("DELETE", "/api/topic-permissions/{vhost}/{user}", ADMINISTRATOR, delete_topic),
    Endpoint("DELETE", "/api/topic-permissions/{vhost}/{user}/{exchange}", ADMINISTRATOR, delete_topic),
)
