"""Nodes under /api/nodes, in RabbitMQ's words.

Law: a key of RabbitMQ's stands here if it says something of this broker; what is Erlang's own inner life does not.
Times are milliseconds, sizes bytes.
"""

from __future__ import annotations

import platform
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog.definitions import SPECIAL_TYPES
from cluster.broker.routing.table import EXCHANGE_TYPES
from cluster.node.admin.api.answers import found, listed
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT, MONITORING
from cluster.node.admin.api.fields import Document
from cluster.node.admin.report import MemberReport, NodeReport

RATES_MODE: Final = "basic"
"""As RabbitMQ's by default: of each thing how much, not between which two."""
_ABOUT_TYPES: Final = {
    "direct": "by equal routing keys",
    "fanout": "to everything that is bound",
    "topic": "by patterns of words in routing keys",
    "headers": "by headers",
    "x-consistent-hash": "to one of what is bound, by a hash",
    "x-random": "to one of what is bound, by chance",
    "x-delayed-message": "as the type in x-delayed-type, once the x-delay of a message is over",
    "x-message-deduplication": "to everything that is bound, each x-deduplication-header once",
}
_MECHANISMS: Final = {
    "PLAIN": "user and password",
    "AMQPLAIN": "user and password, in a table",
    "EXTERNAL": "the name in a client's certificate",
}


def exchange_types() -> list[Document]:
    return [
        {"name": name, "description": _ABOUT_TYPES[name], "enabled": True} for name in (*EXCHANGE_TYPES, *SPECIAL_TYPES)
    ]


def churn(report: NodeReport) -> dict[str, int]:
    """What was made, and what is over."""
    return {
        "connection_created": report.connections_opened_total,
        "connection_closed": report.connections_opened_total - report.connections,
        "channel_created": report.channels_opened_total,
        "channel_closed": report.channels_opened_total - report.channels,
        "queue_declared": report.queues_declared_total,
        "queue_created": report.queues_created_total,
        "queue_deleted": report.queues_deleted_total,
    }


def context_document(report: NodeReport) -> Document:
    """Where the web interface is."""
    return {"description": "management", "path": "/", "port": str(report.http_port), "ip": report.http_host}


def node_document(member: MemberReport, answered_by: str, asked: Asked) -> Document:
    document: Document = {
        "name": member.name,
        "type": "disc",
        "running": member.report is not None,
        "being_drained": bool(member.report and member.report.phase == "draining"),
        "partitions": [],
        "rates_mode": RATES_MODE,
    }
    report = member.report
    if report is None:
        return document | {"reason": member.unreachable_reason}
    return document | {
        "os_pid": str(report.pid),
        "uptime": round(report.uptime_seconds * 1000),
        "mem_limit": report.memory_watermark_bytes,
        "mem_alarm": "memory" in report.alarms,
        "mem_calculation_strategy": "rss",
        "disk_used": report.disk_used_bytes,
        "disk_free_limit": report.disk_free_min_bytes,
        "disk_free_alarm": "disk" in report.alarms,
        "fd_total": report.files_max,
        "sockets_total": report.files_max,
        "proc_total": report.threads_max,
        "processors": report.processors,
        "run_queue": report.tasks_runnable,
        "db_dir": report.data_dir,
        "log_files": ["<stderr>"],
        "enabled_plugins": [],
        "applications": [
            {"name": "cluster_mq", "description": "message broker", "version": report.version},
            {"name": "python", "description": platform.python_implementation(), "version": platform.python_version()},
        ],
        "auth_mechanisms": [
            {"name": name, "description": about, "enabled": name != "EXTERNAL" or report.amqps_port > 0}
            for name, about in _MECHANISMS.items()
        ],
        "exchange_types": exchange_types(),
        "contexts": [context_document(report)],
        "cluster_links": [
            {
                "name": link.peer,
                "peer_addr": link.host,
                "peer_port": link.port,
                "send_bytes": link.bytes_sent,
                "recv_bytes": link.bytes_received,
            }
            for link in report.links
        ],
        "io_sync_avg_time": report.fsync_p50_seconds * 1000,
        "connections": report.connections,
        "channels": report.channels,
        "queues_led": report.queues,
        "version": report.version,
        "answered": member.name == answered_by,
        **asked.levels("node_stats", ("node", member.name), _levels(report)),
        **asked.counted("node_stats", ("node counts", member.name), _counts(report)),
    }


def _levels(report: NodeReport) -> dict[str, int]:
    return {
        "mem_used": report.rss_bytes,
        "disk_free": report.disk_free_bytes,
        "fd_used": report.files_open,
        "sockets_used": report.connections,
        "proc_used": report.threads,
    }


def _counts(report: NodeReport) -> dict[str, int]:
    """A write round is a write and an fsync of all that came together; what is read are entries of the log."""
    return {
        **churn(report),
        "context_switches": report.context_switches_total,
        "io_write_count": report.write_rounds_total,
        "io_write_bytes": report.written_bytes_total,
        "io_sync_count": report.write_rounds_total,
        "io_read_count": report.entries_read_total,
    }


async def nodes(asked: Asked) -> Response:
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    return await listed(asked, list(cluster.members), lambda member: node_document(member, cluster.answered_by, asked))


async def member_in_path(asked: Asked) -> tuple[MemberReport, str]:
    """The node in the path, and who answered; `rabbit@mq-0`, as some clients make it, is mq-0.

    Raises HTTPException 404.
    """
    name = asked.part("name").removeprefix("rabbit@")
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    for member in cluster.members:
        if member.name == name:
            return member, cluster.answered_by
    raise HTTPException(404, f"no node '{asked.part('name')}'")


async def _report_in_path(asked: Asked) -> NodeReport:
    """Raises HTTPException 404, also for a node that does not answer."""
    member, _ = await member_in_path(asked)
    if member.report is None:
        raise HTTPException(404, f"node '{member.name}' does not answer: {member.unreachable_reason}")
    return member.report


async def node(asked: Asked) -> Response:
    """`?memory=true` tells where its memory is as well."""
    member, answered_by = await member_in_path(asked)
    more = {"memory": _memory(member.report)} if member.report is not None and asked.flag("memory") else {}
    return found(asked, node_document(member, answered_by, asked) | more)


async def node_memory(asked: Asked) -> Response:
    return found(asked, {"memory": _memory(await _report_in_path(asked))})


def _memory(report: NodeReport) -> Document:
    """One process has one sum; of it, what is known apart."""
    return {"total": {"rss": report.rss_bytes}, "binary": report.payload_memory_bytes, "strategy": "rss"}


async def auth_attempts(asked: Asked) -> Response:
    """Logins at the node in the path since it began, by protocol."""
    report = await _report_in_path(asked)
    attempts = (
        ("http", report.http_logins_total, report.http_logins_refused_total),
        ("amqp091", report.logins_total, report.logins_refused_total),
    )
    documents: list[dict[str, Any]] = [
        {
            "protocol": protocol,
            "auth_attempts": count,
            "auth_attempts_failed": refused,
            "auth_attempts_succeeded": count - refused,
        }
        for protocol, count, refused in attempts
    ]
    return await listed(asked, documents, dict)


async def auth_attempts_by_source(asked: Asked) -> Response:
    """Where logins come from is not kept, as in RabbitMQ unless it is told to."""
    await _report_in_path(asked)
    return await listed(asked, [], dict)


ENDPOINTS = (
    Endpoint("GET", "/api/nodes", MONITORING, nodes),
    Endpoint("GET", "/api/nodes/{name}", MONITORING, node),
    Endpoint("GET", "/api/nodes/{name}/memory", MONITORING, node_memory),
    Endpoint("GET", "/api/auth/attempts/{name}", MANAGEMENT, auth_attempts),
    Endpoint("GET", "/api/auth/attempts/{name}/source", MANAGEMENT, auth_attempts_by_source),
)
