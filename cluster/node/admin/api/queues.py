"""Queues under /api/queues.

Law: what changes something is judged as the same method over AMQP, by whose permissions `Caller` says. The counts of a
list are what the leaders of the queues answered in time; the counts of one queue are asked of its leader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from operator import attrgetter
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import NO_CONNECTION
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, depths, found, listed, nothing, paged, wish_of
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.fields import Document, field
from cluster.node.admin.api.sessions import consumer_document
from cluster.node.admin.api.values import to_json, to_table
from cluster.node.admin.gently import gently, gently_sorted
from cluster.node.admin.report import NO_COUNTS, QueueCounts, QueueReport

_BY_DEFINITION: Final[Mapping[str, Callable[[QueueDefinition], Any]]] = {
    "name": attrgetter("name"),
    "vhost": attrgetter("vhost"),
    "type": attrgetter("type"),
    "durable": attrgetter("durable"),
    "auto_delete": attrgetter("auto_delete"),
    "exclusive": attrgetter("exclusive"),
}
"""Columns that the catalog knows, and how queues are ordered by them."""
_BY_COUNTS: Final[Mapping[str, Callable[[QueueCounts], int]]] = {
    "messages": lambda counts: counts.ready + counts.unacked + counts.parked,
    "messages_ready": attrgetter("ready"),
    "messages_unacknowledged": attrgetter("unacked"),
    "consumers": attrgetter("consumers"),
    "message_stats.publish": attrgetter("enqueued"),
    "message_stats.deliver_get": attrgetter("delivered"),
    "message_stats.ack": attrgetter("settled"),
}
"""The same of columns that only leaders know."""


def queue_document(report: QueueReport, asked: Asked) -> Document:
    """A report with what the catalog says; the report alone if the queue has gone meanwhile."""
    catalog = asked.catalog
    document = asdict(report)
    vhost = catalog.vhosts.get(report.vhost)
    queue = vhost.queues.get(report.name) if vhost else None
    if vhost is None or queue is None:
        return document
    policy = vhost.policies.matching_queue(queue, operator=False)
    operator_policy = vhost.policies.matching_queue(queue, operator=True)
    effective: dict[str, Any] = {}
    parked = report.messages_parked
    for matching in (policy, operator_policy):
        effective |= dict(matching.definition) if matching else {}
    return document | {
        "auto_delete": queue.auto_delete,
        "exclusive": queue.exclusive,
        "arguments": to_json(queue.arguments.values),
        "type": queue.type,
        "node": report.leader,
        "state": "running" if report.leader else "down",
        "policy": policy.name if policy else None,
        "operator_policy": operator_policy.name if operator_policy else None,
        "effective_policy_definition": effective,
        "message_stats": asked.rates.counted(("queue", queue.id), _flow(report)),
    } | asked.rates.detailed(("depth", queue.id), depths(report.messages_ready, report.messages_unacked, parked))


def _flow(report: QueueReport) -> dict[str, int]:
    """What went in and out, in RabbitMQ's words. Everything settled counts as acknowledged, also what expired."""
    return {
        "publish": report.enqueued_total,
        "deliver_get": report.delivered_total,
        "ack": report.settled_total,
    }


def read_queue(vhost: str, name: str, document: Document, home: tuple[int, int]) -> c.DeclareQueue:
    """`home` is the node, and its life, that holds it if it is not durable. Raises BadField."""
    return c.DeclareQueue(
        vhost,
        name,
        field(document, "durable", bool, True),
        False,
        field(document, "auto_delete", bool, False),
        to_table(field(document, "arguments", dict, {})),
        "",
        *home,
    )


def known_queue(vhost: Vhost, name: str) -> QueueDefinition:
    """Raises HTTPException 404."""
    queue = vhost.queues.get(name)
    if queue is None:
        raise HTTPException(404, f"no queue '{name}' in vhost '{vhost.name}'")
    return queue


async def queues(asked: Asked) -> Response:
    """Only what is shown is described; and only that is counted, if the order does not depend on counts."""
    vhosts = [asked.vhost()] if "vhost" in asked.request.path_params else list(asked.caller.vhosts())
    wish = wish_of(asked)
    node, timeout_seconds = asked.node, asked.timeout_seconds()
    counts: Mapping[int, QueueCounts] = {}

    def describe(queue: QueueDefinition) -> Document:
        return queue_document(node.queue_report(queue, counts.get(queue.id, NO_COUNTS)), asked)

    every: list[QueueDefinition] = []
    for vhost in vhosts:
        every += await gently_sorted(list(vhost.queues.values()), attrgetter("name"))
    if not wish.page or (wish.sort and wish.sort not in _BY_DEFINITION and wish.sort not in _BY_COUNTS):
        counts = await node.queue_counts(timeout_seconds)
        return await listed(asked, every, describe)
    kept = [queue async for queue in gently(every) if wish.matches(queue.name)] if wish.name else every
    if wish.sort in _BY_DEFINITION:
        kept = await gently_sorted(kept, _BY_DEFINITION[wish.sort], reverse=wish.reverse)
    elif wish.sort:
        counts, by = await node.queue_counts(timeout_seconds), _BY_COUNTS[wish.sort]
        kept = await gently_sorted(kept, lambda q: by(counts.get(q.id, NO_COUNTS)), reverse=wish.reverse)
    shown = wish.part(kept)
    counts = counts or await node.queue_counts(timeout_seconds, [queue.id for queue in shown])
    return await paged(wish, len(every), len(kept), [describe(queue) for queue in shown])


async def queue(asked: Asked) -> Response:
    queue = known_queue(asked.vhost(), asked.part("name"))
    consuming = [
        consumer
        for consumer in await asked.node.consumers(asked.timeout_seconds())
        if (consumer.vhost, consumer.queue) == (queue.vhost, queue.name)
    ]
    report = asked.node.queue_report(queue, await asked.node.operations.counts(queue))
    details = [consumer_document(consumer) for consumer in consuming]
    return found(queue_document(report, asked) | {"consumer_details": details})


async def put(asked: Asked) -> Response:
    """`{"durable", "auto_delete", "arguments"}`."""
    vhost, name = asked.vhost_to_change(), asked.part("name")
    command = read_queue(vhost.name, name, await asked.body(), asked.node.operations.home)
    existing = asked.catalog.checks.declare_queue(asked.caller.name, command)
    if existing is None:
        await asked.node.operations.submit(command)
    return changed(new=existing is None)


async def delete(asked: Asked) -> Response:
    """`?if-empty=true`, `?if-unused=true`."""
    vhost = asked.vhost_to_change()
    queue = known_queue(vhost, asked.part("name"))
    asked.catalog.checks.delete_queue(asked.caller.remover, vhost.name, queue.name, NO_CONNECTION)
    await asked.node.operations.delete_queue(
        queue, if_unused=asked.flag("if-unused"), if_empty=asked.flag("if-empty")
    )
    return nothing()


async def purge(asked: Asked) -> Response:
    vhost = asked.vhost_to_change()
    queue = known_queue(vhost, asked.part("name"))
    asked.catalog.checks.read_queue(asked.caller.remover, vhost.name, queue.name, NO_CONNECTION)
    await asked.node.operations.purge(queue)
    return nothing()


async def retry(asked: Asked) -> Response:
    """Messages that came back too often are delivered again. `{"retried"}` says how many there were."""
    vhost = asked.vhost_to_change()
    queue = known_queue(vhost, asked.part("name"))
    asked.catalog.checks.read_queue(asked.caller.remover, vhost.name, queue.name, NO_CONNECTION)
    return found({"retried": await asked.node.operations.retry(queue)})


ENDPOINTS = (
    Endpoint("GET", "/api/queues", MANAGEMENT, queues),
    Endpoint("GET", "/api/queues/{vhost}", MANAGEMENT, queues),
    Endpoint("GET", "/api/queues/{vhost}/{name}", MANAGEMENT, queue),
    Endpoint("PUT", "/api/queues/{vhost}/{name}", MANAGEMENT, put),
    Endpoint("DELETE", "/api/queues/{vhost}/{name}", MANAGEMENT, delete),
    Endpoint("DELETE", "/api/queues/{vhost}/{name}/contents", MANAGEMENT, purge),
    Endpoint("POST", "/api/queues/{vhost}/{name}/retry", MANAGEMENT, retry),
)
