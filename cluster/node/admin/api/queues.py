"""Queues under /api/queues.

Law: what changes something is judged as the same method over AMQP, by whose permissions `Caller` says. The counts of a
list are what the leaders of the queues answered in time; the counts of one queue are asked of its leader.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import NO_CONNECTION
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, depths, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.fields import Document, field
from cluster.node.admin.api.sessions import consumer_document
from cluster.node.admin.api.values import to_json, to_table
from cluster.node.admin.report import QueueReport


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
    if "vhost" in asked.request.path_params:
        vhost = asked.vhost().name
        reports = [r for r in await asked.node.queues(asked.timeout_seconds()) if r.vhost == vhost]
    else:
        seen = {vhost.name for vhost in asked.caller.vhosts()}
        reports = [r for r in await asked.node.queues(asked.timeout_seconds()) if r.vhost in seen]
    return await listed(asked, reports, lambda report: queue_document(report, asked))


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
