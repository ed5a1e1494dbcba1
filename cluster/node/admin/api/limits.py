"""Limits of vhosts and of users.

Law: only what is limited is listed. A negative value takes a limit away, as deleting it does.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.access import USER_LIMITS
from cluster.broker.catalog.vhost import VHOST_LIMITS
from cluster.node.admin.api.answers import listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, MANAGEMENT
from cluster.node.admin.api.fields import BadField, Document, field


def read_limits(document: Document, known: tuple[str, ...]) -> list[tuple[str, int]]:
    """Each limit and its value. Raises BadField."""
    for name in document:
        if name not in known:
            raise BadField(f"limit '{name}' is not one of {', '.join(known)}")
    return [(name, field(document, name, int)) for name in sorted(document)]


async def vhost_limits(asked: Asked) -> Response:
    vhosts = [asked.vhost()] if "vhost" in asked.request.path_params else list(asked.caller.vhosts())
    limited = [vhost for vhost in vhosts if vhost.limits]
    return await listed(asked, limited, lambda v: {"vhost": v.name, "value": dict(sorted(v.limits.items()))})


async def put_vhost_limit(asked: Asked) -> Response:
    """`{"value": n}`."""
    vhost, limit = asked.vhost(), asked.part("limit")
    value = field(await asked.body(), "value", int)
    await asked.node.operations.submit(c.SetVhostLimit(vhost.name, limit, value))
    return nothing()


async def delete_vhost_limit(asked: Asked) -> Response:
    vhost, limit = asked.vhost(), asked.part("limit")
    if limit not in VHOST_LIMITS:
        raise BadField(f"limit '{limit}' is not one of {', '.join(VHOST_LIMITS)}")
    await asked.node.operations.submit(c.SetVhostLimit(vhost.name, limit, None))
    return nothing()


def _user(asked: Asked) -> str:
    name = asked.part("user")
    if name not in asked.catalog.users:
        raise HTTPException(404, f"no user '{name}'")
    return name


async def user_limits(asked: Asked) -> Response:
    names = [_user(asked)] if "user" in asked.request.path_params else sorted(asked.catalog.users)
    limited = [name for name in names if asked.catalog.user_limits(name)]
    return await listed(
        asked, limited, lambda name: {"user": name, "value": dict(sorted(asked.catalog.user_limits(name).items()))}
    )


async def put_user_limit(asked: Asked) -> Response:
    """`{"value": n}`."""
    user, limit = _user(asked), asked.part("limit")
    value = field(await asked.body(), "value", int)
    await asked.node.operations.submit(c.SetUserLimit(user, limit, value))
    return nothing()


async def delete_user_limit(asked: Asked) -> Response:
    user, limit = _user(asked), asked.part("limit")
    if limit not in USER_LIMITS:
        raise BadField(f"limit '{limit}' is not one of {', '.join(USER_LIMITS)}")
    await asked.node.operations.submit(c.SetUserLimit(user, limit, None))
    return nothing()


ENDPOINTS = (
    Endpoint("GET", "/api/vhost-limits", MANAGEMENT, vhost_limits),
    Endpoint("GET", "/api/vhost-limits/{vhost}", MANAGEMENT, vhost_limits),
    Endpoint("PUT", "/api/vhost-limits/{vhost}/{limit}", ADMINISTRATOR, put_vhost_limit),
    Endpoint("DELETE", "/api/vhost-limits/{vhost}/{limit}", ADMINISTRATOR, delete_vhost_limit),
    Endpoint("GET", "/api/user-limits", ADMINISTRATOR, user_limits),
    Endpoint("GET", "/api/user-limits/{user}", ADMINISTRATOR, user_limits),
    Endpoint("PUT", "/api/user-limits/{user}/{limit}", ADMINISTRATOR, put_user_limit),
    Endpoint("DELETE", "/api/user-limits/{user}/{limit}", ADMINISTRATOR, delete_user_limit),
)
