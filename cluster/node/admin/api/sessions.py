"""Clients under /api/connections, /api/channels and /api/consumers.

Law: who neither monitors nor administers sees the sessions of the own user alone, and may close those. What closes a
connection is told to its client: 320 with the reason given in the header X-Reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.node.admin.api.answers import found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.fields import Document
from cluster.node.admin.report import ChannelReport, ConnectionReport, ConsumerReport

R = TypeVar("R", ConnectionReport, ChannelReport, ConsumerReport)
REASON_DEFAULT = "Closed via management API"
REASON_OCTETS_MAX = 200


def connection_document(report: ConnectionReport) -> Document:
    """`connected_at` is Unix time in whole milliseconds, as in RabbitMQ: clients read it into an integer."""
    return asdict(report) | {
        "connected_at": round(report.connected_at * 1000),
        "ssl_protocol": report.ssl_protocol or None,
        "type": "network",
        "protocol": "AMQP 0-9-1",
        "timeout": report.heartbeat_seconds,
        "ssl": bool(report.ssl_protocol),
        "user_provided_name": report.client_properties.get("connection_name"),
    }


def channel_document(report: ChannelReport) -> Document:
    return {
        "name": report.name,
        "number": report.number,
        "node": report.node,
        "user": report.user,
        "vhost": report.vhost,
        "state": report.state,
        "confirm": report.confirm,
        "consumer_count": report.consumers,
        "messages_unacknowledged": report.messages_unacked,
        "prefetch_count": report.prefetch_count,
        "global_prefetch_count": report.global_prefetch_count,
        "connection_details": {"name": report.connection, **_peer(report.connection)},
    }


def _peer(connection: str) -> Document:
    """Where a connection comes from; its name begins with it."""
    host, _, port = connection.partition(" -> ")[0].rpartition(":")
    return {"peer_host": host, "peer_port": int(port) if port.isdecimal() else 0}


def consumer_document(report: ConsumerReport) -> Document:
    return {
        "consumer_tag": report.consumer_tag,
        "queue": {"name": report.queue, "vhost": report.vhost},
        "channel_details": {
            "name": f"{report.connection} ({report.channel})",
            "number": report.channel,
            "connection_name": report.connection,
            **_peer(report.connection),
            "node": report.node,
            "user": report.user,
        },
        "ack_required": report.ack_required,
        "exclusive": report.exclusive,
        "prefetch_count": report.prefetch_count,
    }


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
    return await listed(asked, await _connections(asked), connection_document)


async def _connection(asked: Asked) -> ConnectionReport:
    """Raises HTTPException 404."""
    name = asked.part("name")
    for report in await _connections(asked):
        if report.name == name:
            return report
    raise HTTPException(404, f"no connection '{name}'")


async def connection(asked: Asked) -> Response:
    return found(connection_document(await _connection(asked)))


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
    return await listed(asked, of_it, channel_document)


async def channels(asked: Asked) -> Response:
    return await listed(asked, await _channels(asked), channel_document)


async def channel(asked: Asked) -> Response:
    name = asked.part("name")
    for report in await _channels(asked):
        if report.name == name:
            return found(channel_document(report))
    raise HTTPException(404, f"no channel '{name}'")


async def consumers(asked: Asked) -> Response:
    every = _of_vhost(asked, await asked.node.consumers(asked.timeout_seconds()))
    return await listed(asked, [report for report in every if asked.caller.sees(report.vhost)], consumer_document)


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
