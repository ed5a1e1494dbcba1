"""Vhosts under /api/vhosts.

Law: whoever makes a vhost gets full permissions on it, so that it can be used. A PUT that leaves something out leaves
it as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, depths, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint, together
from cluster.node.admin.api.caller import ADMINISTRATOR, MANAGEMENT
from cluster.node.admin.api.fields import BadField, Document, field, short_name
from cluster.node.admin.api.figures import summed
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
    above = field(document, "metadata", dict, {})
    queue_type = field(above, "default_queue_type", str, "") or field(document, "default_queue_type", str, "")
    if queue_type in {"", "undefined"}:
        queue_type = known.default_queue_type if known else "classic"
    if queue_type not in {"classic", "quorum"}:
        raise BadField(f"'default_queue_type' must be classic or quorum, got {queue_type!r}")
    current = known.description if known else ""
    description = field(document, "description", str, field(above, "description", str, current))
    tags = read_tags(document, "tags", read_tags(above, "tags", tag_list(known.tags) if known else []))
    return c.PutVhost(short_name(name, "a vhost"), description, ",".join(tags), queue_type)


async def _figures(asked: Asked) -> Callable[[Vhost], Document]:
    """What is counted of each vhost: what lies in its queues, what went through its connections, where it is served."""
    node, timeout_seconds = asked.node, asked.timeout_seconds()
    counts, flows, cluster = await together(
        node.queue_counts(timeout_seconds, weighed=False),
        node.vhost_flows(timeout_seconds),
        node.cluster_report(timeout_seconds),
    )
    states = {member.name: "running" if member.report is not None else "nodedown" for member in cluster.members}
    held: dict[str, tuple[int, int, int]] = {}
    async for queue in gently(list(asked.catalog.queues.values())):
        ready, unacked, messages = held.get(queue.vhost, (0, 0, 0))
        counted = counts.get(queue.id, NO_COUNTS)
        held[queue.vhost] = ready + counted.ready, unacked + counted.unacked, messages + counted.messages

    def figures(vhost: Vhost) -> Document:
        name = vhost.name
        of_it = [flow for flow in flows if flow.vhost == name]
        octets = {word: sum([getattr(flow, word) for flow in of_it]) for word in ("recv_oct", "send_oct")}
        return {
            "cluster_state": states,
            "message_stats": asked.counted("msg_rates", ("vhost flow", name), summed([flow.flow for flow in of_it])),
            **asked.counted("data_rates", ("vhost octets", name), octets),
            **asked.levels("lengths", ("vhost", name), depths(*held.get(name, (0, 0, 0)))),
        }

    return figures


async def vhosts(asked: Asked) -> Response:
    figures = await _figures(asked)
    return await listed(
        asked, list(asked.caller.vhosts()), lambda vhost: vhost_document(vhost) | figures(vhost), in_pages=True
    )


async def vhost(asked: Asked) -> Response:
    vhost = asked.vhost()
    return found(asked, vhost_document(vhost) | (await _figures(asked))(vhost))


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
