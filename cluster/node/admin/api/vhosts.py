"""Vhosts under /api/vhosts.

Law: whoever makes a vhost gets full permissions on it, so that it can be used. A PUT that leaves something out leaves
it as it is.
"""

from __future__ import annotations

from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, depths, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, MANAGEMENT
from cluster.node.admin.api.fields import BadField, Document, field
from cluster.node.admin.gently import gently
from cluster.node.admin.report import NO_COUNTS


def vhost_document(vhost: Vhost) -> Document:
    tags = tag_list(vhost.tags)
    return {
        "name": vhost.name,
        "description": vhost.description,
        "tags": tags,
        "default_queue_type": vhost.default_queue_type,
        "metadata": {
            "description": vhost.description,
            "tags": tags,
            "default_queue_type": vhost.default_queue_type,
        },
        "tracing": False,
    }


def tag_list(text: str) -> list[str]:
    """Comma separated words, without what is empty."""
    return [tag for tag in [part.strip() for part in text.split(",")] if tag]


def read_tags(document: Document, key: str, default: list[str]) -> list[str]:
    """A list of words, or words in a string with commas between. Raises BadField."""
    value = document.get(key)
    if value is None:
        return default
    if isinstance(value, str):
        return tag_list(value)
    if isinstance(value, list) and all(isinstance(tag, str) and "," not in tag for tag in value):
        return [tag.strip() for tag in value if tag.strip()]
    raise BadField(f"'{key}' must be a list of strings, or a string with commas")


def read_vhost(name: str, document: Document, known: Vhost | None) -> c.PutVhost:
    """The command for a vhost as JSON describes it. Raises BadField."""
    if not name:
        raise BadField("a vhost's name cannot be empty")
    above = field(document, "metadata", dict, {})
    queue_type = above.get("default_queue_type") or document.get("default_queue_type")
    if queue_type is None or queue_type == "undefined":
        queue_type = known.default_queue_type if known else "classic"
    if queue_type not in {"classic", "quorum"}:
        raise BadField(f"'default_queue_type' must be classic or quorum, got {queue_type!r}")
    current = known.description if known else ""
    description = field(document, "description", str, field(above, "description", str, current))
    tags = read_tags(document, "tags", read_tags(above, "tags", tag_list(known.tags) if known else []))
    return c.PutVhost(name, description, ",".join(tags), queue_type)


async def _depths(asked: Asked) -> dict[str, tuple[int, int]]:
    """Vhost -> messages that are ready, and unacked ones."""
    found: dict[str, tuple[int, int]] = {}
    counts = await asked.node.queue_counts(asked.timeout_seconds())
    async for queue in gently(list(asked.catalog.queues.values())):
        ready, unacked = found.get(queue.vhost, (0, 0))
        counted = counts.get(queue.id, NO_COUNTS)
        found[queue.vhost] = ready + counted.ready, unacked + counted.unacked
    return found


async def vhosts(asked: Asked) -> Response:
    held = await _depths(asked)

    def document(vhost: Vhost) -> Document:
        return vhost_document(vhost) | depths(*held.get(vhost.name, (0, 0)))

    return await listed(asked, list(asked.caller.vhosts()), document)


async def vhost(asked: Asked) -> Response:
    vhost = asked.vhost()
    held = (await _depths(asked)).get(vhost.name, (0, 0))
    return found(vhost_document(vhost) | asked.rates.detailed(("vhost", vhost.name), depths(*held)))


async def start(asked: Asked) -> Response:
    """A vhost runs on every node, always: there is nothing to start."""
    asked.vhost()
    return nothing()


async def put(asked: Asked) -> Response:
    name = asked.part("vhost")
    known = asked.catalog.vhosts.get(name)
    await asked.node.operations.submit(read_vhost(name, await asked.body(), known))
    if known is None:
        await asked.node.operations.submit(c.SetPermissions(asked.caller.name, name, ".*", ".*", ".*"))
    return changed(new=known is None)


async def delete(asked: Asked) -> Response:
    vhost = asked.vhost()
    await asked.node.operations.submit(c.DeleteVhost(vhost.name))
    return nothing()


ENDPOINTS = (
    Endpoint("GET", "/api/vhosts", MANAGEMENT, vhosts),
    Endpoint("GET", "/api/vhosts/{vhost}", MANAGEMENT, vhost),
    Endpoint("PUT", "/api/vhosts/{vhost}", ADMINISTRATOR, put),
    Endpoint("DELETE", "/api/vhosts/{vhost}", ADMINISTRATOR, delete),
    Endpoint("POST", "/api/vhosts/{vhost}/start/{node}", ADMINISTRATOR, start),
)
