"""Users under /api/users.

Law: a password that comes is hashed in a thread and not kept; a hash that comes is kept as it is. A PUT says the whole
user: without a password or hash nobody can log in with it.
"""

from __future__ import annotations

import trio
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.access import User
from cluster.broker.catalog.catalog import Catalog
from cluster.node.admin.api.answers import changed, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR
from cluster.node.admin.api.fields import BadField, Document, field
from cluster.node.admin.api.vhosts import read_tags
from cluster.node.amqp.password_hash import hash_password, read_hash, show_hash


def user_document(user: User, catalog: Catalog) -> Document:
    text, algorithm = show_hash(user.password_hash)
    return {
        "name": user.name,
        "password_hash": text,
        "hashing_algorithm": algorithm,
        "tags": list(user.tags),
        "limits": dict(sorted(catalog.user_limits(user.name).items())),
    }


def read_user(name: str, document: Document) -> tuple[c.PutUser, str | None]:
    """The command, and the password that is still to be hashed into it. Raises BadField."""
    if not name:
        raise BadField("a user's name cannot be empty")
    tags = tuple(read_tags(document, "tags", []))
    text = field(document, "password_hash", str, "")
    password = field(document, "password", str, "") if not text else ""
    try:
        kept = read_hash(text, field(document, "hashing_algorithm", str, "") or None) if text else ""
    except ValueError as error:
        raise BadField(str(error)) from None
    return c.PutUser(name, kept, tags), password or None


def _known(asked: Asked) -> User:
    """Raises HTTPException 404."""
    name = asked.part("user")
    user = asked.catalog.users.get(name)
    if user is None:
        raise HTTPException(404, f"no user '{name}'")
    return user


async def users(asked: Asked) -> Response:
    found = [user for _, user in sorted(asked.catalog.users.items())]
    return await listed(asked, found, lambda user: user_document(user, asked.catalog))


async def without_permissions(asked: Asked) -> Response:
    holding = {user for user, _ in asked.catalog.access.permissions}
    found = [user for name, user in sorted(asked.catalog.users.items()) if name not in holding]
    return await listed(asked, found, lambda user: user_document(user, asked.catalog))


async def user(asked: Asked) -> Response:
    return found(asked, user_document(_known(asked), asked.catalog))


async def put(asked: Asked) -> Response:
    """`{"password" or "password_hash" and "hashing_algorithm", "tags"}`."""
    name = asked.part("user")
    document = await asked.body()
    if "tags" not in document:
        raise BadField("'tags' is missing: a list of strings, or a string with commas; \"\" for none")
    command, password = read_user(name, document)
    if password is not None:
        kept = await trio.to_thread.run_sync(hash_password, password.encode())
        command = c.PutUser(name, kept, command.tags)
    new = name not in asked.catalog.users
    await asked.node.operations.submit(command)
    return changed(new=new)


async def delete(asked: Asked) -> Response:
    await asked.node.operations.submit(c.DeleteUser(_known(asked).name))
    return nothing()


async def bulk_delete(asked: Asked) -> Response:
    """`{"users": [name, ...]}`; names that are not there are passed over."""
    names = field(await asked.body(), "users", list)
    for name in names:
        if isinstance(name, str) and name in asked.catalog.users:
            await asked.node.operations.submit(c.DeleteUser(name))
    return nothing()


ENDPOINTS = (
    Endpoint("GET", "/api/users", ADMINISTRATOR, users),
    Endpoint("GET", "/api/users/without-permissions", ADMINISTRATOR, without_permissions),
    Endpoint("POST", "/api/users/bulk-delete", ADMINISTRATOR, bulk_delete),
    Endpoint("GET", "/api/users/{user}", ADMINISTRATOR, user),
    Endpoint("PUT", "/api/users/{user}", ADMINISTRATOR, put),
    Endpoint("DELETE", "/api/users/{user}", ADMINISTRATOR, delete),
)
