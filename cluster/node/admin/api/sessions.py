"""Clients under /api/connections, /api/channels and /api/consumers.

Law: who neither monitors nor administers sees the sessions of the own user alone, and may close those. What closes a
connection is told to its client: 320 with the reason given in the header X-Reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog.definitions import QueueDefinition
from cluster.node.admin.api.answers import found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.fields import Document
from cluster.node.admin.api.figures import peer_of, shallow, summed, time_text
from cluster.node.admin.gently import gently
from cluster.node.admin.report import NO_COUNTS, ChannelReport, ConnectionReport, ConsumerReport, QueueCounts

R = TypeVar("R", ConnectionReport, ChannelReport, ConsumerReport)
REASON_DEFAULT = "Closed via management API"
REASON_OCTETS_MAX = 200
_OF_TLS = (
    "ssl_protocol",
    "ssl_cipher",
    "ssl_key_exchange",
    "ssl_hash",
    "peer_cert_subject",
    "peer_cert_issuer",
    "peer_cert_validity",
)


def connection_document(report: ConnectionReport, asked: Asked) -> Document:
    """`connected_at` is Unix time in whole milliseconds, as in RabbitMQ: clients read it into an integer."""
    octets = {"recv_oct": report.recv_oct, "send_oct": report.send_oct}
    return (
        shallow(report)
        | {
            "connected_at": round(report.connected_at * 1000),
            "type": "network",
            "protocol": "AMQP 0-9-1",
            "timeout": report.heartbeat_seconds,
            "ssl": bool(report.ssl_protocol),
            "user_provided_name": report.client_properties.get("connection_name"),
            "user_who_performed_action": report.user,
        }
        | {name: getattr(report, name) or None for name in _OF_TLS}
        | asked.counted("data_rates", ("connection", report.id or report.name), octets)
    )


def channel_document(report: ChannelReport, asked: Asked) -> Document:
    """Which messages went which way is not kept: see `queues.queue`."""
    document = {
        "name": report.name,
        "number": report.number,
        "node": report.node,
        "user": report.user,
        "user_who_performed_action": report.user,
        "vhost": report.vhost,
        "state": report.state,
        "confirm": report.confirm,
        "transactional": report.transactional,
        "consumer_count": report.consumers,
        "messages_unacknowledged": report.messages_unacked,
        "messages_unconfirmed": report.messages_unconfirmed,
        "messages_uncommitted": report.messages_uncommitted,
        "acks_uncommitted": report.acks_uncommitted,
        "pending_raft_commands": report.messages_pending,
        "prefetch_count": report.prefetch_count,
        "global_prefetch_count": report.global_prefetch_count,
        "connection_details": {"name": report.connection, **peer_of(report.connection)},
        "message_stats": asked.counted("msg_rates", ("channel", report.name), summed([report.flow])),
    }
    return document | ({"idle_since": time_text(report.idle_since)} if report.idle_since else {})


def consumer_document(
    report: ConsumerReport, queue: QueueDefinition | None, counts: QueueCounts = NO_COUNTS
) -> Document:
    """`counts` are of a queue whose consumers are served one at a time."""
    alone = queue is not None and "x-single-active-consumer" in queue.arguments.values
    is_chosen = report.node_id > 0 and (report.node_id, report.number) == (counts.chosen_node, counts.chosen_consumer)
    active = not alone or is_chosen
    status = "up" if not alone else "single_active" if active else "waiting"
    return {
        "consumer_tag": report.consumer_tag,
        "queue": {"name": report.queue, "vhost": report.vhost},
        "channel_details": {
            "name": f"{report.connection} ({report.channel})",
            "number": report.channel,
            "connection_name": report.connection,
            **peer_of(report.connection),
            "node": report.node,
            "user": report.user,
        },
        "ack_required": report.ack_required,
        "active": active,
        "activity_status": status,
        "arguments": report.arguments,
        "exclusive": report.exclusive,
        "prefetch_count": report.prefetch_count,
    }


async def consumer_documents(asked: Asked, reports: Sequence[ConsumerReport]) -> list[Document]:
    """Leaders are asked only about queues whose consumers are served one at a time."""
    queues: dict[tuple[str, str], QueueDefinition] = {}
    for report in reports:
        vhost = asked.catalog.vhosts.get(report.vhost)
        queue = vhost.queues.get(report.queue) if vhost else None
        if queue is not None:
            queues[report.vhost, report.queue] = queue
    alone = [queue.id for queue in queues.values() if "x-single-active-consumer" in queue.arguments.values]
    counts = await asked.node.queue_counts(asked.timeout_seconds(), alone) if alone else {}

    def document(report: ConsumerReport) -> Document:
        queue = queues.get((report.vhost, report.queue))
        return consumer_document(report, queue, counts.get(queue.id, NO_COUNTS) if queue is not None else NO_COUNTS)

    return [document(report) async for report in gently(reports)]


def _of_vhost(asked: Asked, every: Sequence[R]) -> list[R]:
    """Those of the vhost in the path, where it names one. Raises HTTPException 404, 403."""
    vhost = asked.vhost().name if "vhost" in asked.request.path_params else None
    return [report for report in every if vhost in (None, report.vhost)]


async def _connections(asked: Asked) -> list[ConnectionReport]:
    every = _of_vhost(asked, await asked.node.connections(asked.timeout_seconds()))
    if "user" in asked.request.path_params:
        user = asked.part("user")
        every = [report for report in every if report.user == user]
    return [report for report in every if asked.caller.sees_all or report.user == asked.caller.name]


async def _channels(asked: Asked) -> list[ChannelReport]:
    every = _of_vhost(asked, await asked.node.channels(asked.timeout_seconds()))
    return [report for report in every if asked.caller.sees_all or report.user == asked.caller.name]


async def connections(asked: Asked) -> Response:
    every, in_pages = await _connections(asked), "vhost" not in asked.request.path_params
    return await listed(asked, every, lambda report: connection_document(report, asked), in_pages=in_pages)


async def _connection(asked: Asked) -> ConnectionReport:
    """Raises HTTPException 404."""
    name = asked.part("name")
    for report in await _connections(asked):
        if report.name == name:
            return report
    raise HTTPException(404, f"no connection '{name}'")


async def connection(asked: Asked) -> Response:
    """A word that says nothing is empty here, and null in lists, as in RabbitMQ."""
    document = connection_document(await _connection(asked), asked)
    return found(asked, document | {name: document[name] or "" for name in _OF_TLS})


async def close(asked: Asked) -> Response:
    report = await _connection(asked)
    _require_own(asked, report)
    if not await asked.node.operations.close_connection(report.name, _reason(asked)):
        raise HTTPException(404, f"no connection '{report.name}'")
    return nothing()


async def close_of_user(asked: Asked) -> Response:
    """All of a user's, which may be none."""
    for report in await _connections(asked):
        _require_own(asked, report)
        await asked.node.operations.close_connection(report.name, _reason(asked))
    return nothing()


def _require_own(asked: Asked, report: ConnectionReport) -> None:
    """Raises HTTPException 403."""
    if "administrator" not in asked.caller.tags and report.user != asked.caller.name:
        raise HTTPException(403, f"connection '{report.name}' is another user's")


def _reason(asked: Asked) -> str:
    reason = asked.request.headers.get("x-reason", "").encode()[:REASON_OCTETS_MAX].decode(errors="ignore")
    return reason or REASON_DEFAULT


async def channels_of(asked: Asked) -> Response:
    report = await _connection(asked)
    of_it = [channel for channel in await _channels(asked) if channel.connection == report.name]
    return await listed(asked, of_it, lambda channel: channel_document(channel, asked))


async def channels(asked: Asked) -> Response:
    every, in_pages = await _channels(asked), "vhost" not in asked.request.path_params
    return await listed(asked, every, lambda channel: channel_document(channel, asked), in_pages=in_pages)


async def channel(asked: Asked) -> Response:
    name = asked.part("name")
    for report in await _channels(asked):
        if report.name == name:
            of_it = [
                consumer
                for consumer in await asked.node.consumers(asked.timeout_seconds())
                if (consumer.connection, consumer.channel) == (report.connection, report.number)
            ]
            details = await consumer_documents(asked, of_it)
            more = {"consumer_details": details, "deliveries": [], "publishes": []}
            return found(asked, channel_document(report, asked) | more)
    raise HTTPException(404, f"no channel '{name}'")


async def consumers(asked: Asked) -> Response:
    every = _of_vhost(asked, await asked.node.consumers(asked.timeout_seconds()))
    seen = [report for report in every if asked.caller.sees(report.vhost)]
    return await listed(asked, await consumer_documents(asked, seen), dict)


ENDPOINTS = (
    Endpoint("GET", "/api/connections", MANAGEMENT, connections),
    Endpoint("GET", "/api/connections/{name}", MANAGEMENT, connection),
    Endpoint("DELETE", "/api/connections/{name}", MANAGEMENT, close),
    Endpoint("GET", "/api/connections/{name}/channels", MANAGEMENT, channels_of),
    Endpoint("GET", "/api/connections/username/{user}", MANAGEMENT, connections),
    Endpoint("DELETE", "/api/connections/username/{user}", MANAGEMENT, close_of_user),
    Endpoint("GET", "/api/vhosts/{vhost}/connections", MANAGEMENT, connections),
    Endpoint("GET", "/api/vhosts/{vhost}/channels", MANAGEMENT, channels),
    Endpoint("GET", "/api/channels", MANAGEMENT, channels),
    Endpoint("GET", "/api/channels/{name}", MANAGEMENT, channel),
    Endpoint("GET", "/api/consumers", MANAGEMENT, consumers),
    Endpoint("GET", "/api/consumers/{vhost}", MANAGEMENT, consumers),
)
