"""The cluster as a whole: overview, nodes, who asks.

Law: `rabbitmq_version` is the release whose interface is followed here, for clients that look at it; ours is
`product_version`.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.broker.catalog.definitions import SPECIAL_TYPES
from cluster.broker.routing.table import EXCHANGE_TYPES
from cluster.node.admin.api.answers import depths, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, MANAGEMENT, MONITORING
from cluster.node.admin.api.fields import Document
from cluster.node.admin.report import ClusterReport, MemberReport, NodeReport
from cluster.node.cluster_name import cluster_name as named

FOLLOWED_VERSION = "3.10.8"
_FLOW = {
    "publish": "published_total",
    "confirm": "confirmed_total",
    "return_unroutable": "returned_total",
    "deliver_get": "delivered_total",
    "redeliver": "redelivered_total",
    "ack": "acknowledged_total",
}
"""RabbitMQ's words for what a report counts."""


def node_document(member: MemberReport, answered_by: str) -> Document:
    """A node in RabbitMQ's words; times in milliseconds."""
    document: Document = {
        "name": member.name,
        "type": "disc",
        "running": member.report is not None,
        "being_drained": bool(member.report and member.report.phase == "draining"),
        "partitions": [],
    }
    report = member.report
    if report is None:
        return document | {"reason": member.unreachable_reason}
    return document | {
        "os_pid": str(report.pid),
        "uptime": round(report.uptime_seconds * 1000),
        "mem_used": report.rss_bytes,
        "mem_limit": report.memory_watermark_bytes,
        "mem_alarm": "memory" in _alarm_words(report),
        "disk_free": report.disk_free_bytes,
        "disk_used": report.disk_used_bytes,
        "disk_free_limit": report.disk_free_min_bytes,
        "disk_free_alarm": "disk" in _alarm_words(report),
        "fd_used": report.files_open,
        "fd_total": report.files_max,
        "sockets_used": report.connections,
        "sockets_total": report.files_max,
        "connections": report.connections,
        "channels": report.channels,
        "queues_led": report.queues,
        "version": report.version,
        "answered": member.name == answered_by,
    }


def _alarm_words(report: NodeReport) -> str:
    return " ".join(report.alarms)


def overview_document(cluster: ClusterReport, asked: Asked) -> Document:
    reports = [member.report for member in cluster.members if member.report is not None]
    seen = list(asked.caller.vhosts())

    def total(name: str) -> int:
        return sum(getattr(report, name) for report in reports)

    return {
        "management_version": FOLLOWED_VERSION,
        "rabbitmq_version": FOLLOWED_VERSION,
        "product_name": "cluster-mq",
        "product_version": cluster.version,
        "cluster_name": cluster.cluster_name,
        "cluster_id": cluster.cluster_id,
        "node": cluster.answered_by,
        "rates_mode": "basic",
        "exchange_types": [{"name": name, "enabled": True} for name in (*EXCHANGE_TYPES, *SPECIAL_TYPES)],
        "object_totals": {
            "connections": total("connections"),
            "channels": total("channels"),
            "consumers": total("consumers"),
            "exchanges": sum(len(vhost.exchanges) for vhost in seen),
            "queues": sum(len(vhost.queues) for vhost in seen),
        },
        "queue_totals": asked.rates.detailed("depth", depths(total("messages_ready"), total("messages_unacked"))),
        "message_stats": asked.rates.counted("flow", {word: total(name) for word, name in _FLOW.items()}),
        "churn_rates": asked.rates.counted(
            "churn",
            {
                "connection_created": total("connections_opened_total"),
                "connection_closed": total("connections_opened_total") - total("connections"),
                "channel_created": total("channels_opened_total"),
                "channel_closed": total("channels_opened_total") - total("channels"),
            },
        ),
        "contexts": [{"node": report.name, "path": "/", "port": str(report.http_port)} for report in reports],
        "listeners": [
            {"node": report.name, "protocol": protocol, "port": port}
            for report in reports
            for protocol, port in listeners(report)
        ],
    }


def listeners(report: NodeReport) -> list[tuple[str, int]]:
    """Protocol and port of what clients can reach."""
    ports = (("amqp", report.amqp_port), ("amqp/ssl", report.amqps_port), ("http", report.http_port))
    return [(protocol, port) for protocol, port in ports if port]


async def overview(asked: Asked) -> Response:
    return found(overview_document(await asked.node.cluster_report(asked.timeout_seconds()), asked))


async def cluster_name(asked: Asked) -> Response:
    return found({"name": named(asked.catalog, asked.catalog.cluster_name)})


async def whoami(asked: Asked) -> Response:
    return found({"name": asked.caller.name, "tags": sorted(asked.caller.tags)})


async def nodes(asked: Asked) -> Response:
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    return await listed(asked, list(cluster.members), lambda member: node_document(member, cluster.answered_by))


async def member_in_path(asked: Asked) -> tuple[MemberReport, str]:
    """The node in the path, and who answered. Raises HTTPException 404."""
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    for member in cluster.members:
        if member.name == asked.part("name"):
            return member, cluster.answered_by
    raise HTTPException(404, f"no node '{asked.part('name')}'")


async def node(asked: Asked) -> Response:
    return found(node_document(*await member_in_path(asked)))


async def node_memory(asked: Asked) -> Response:
    """One process has one sum; of it, what is known apart."""
    member, _ = await member_in_path(asked)
    if member.report is None:
        raise HTTPException(404, f"node '{member.name}' does not answer: {member.unreachable_reason}")
    report = member.report
    total = {"rss": report.rss_bytes}
    return found({"memory": {"total": total, "binary": report.payload_memory_bytes, "strategy": "rss"}})


async def extensions(_: Asked) -> Response:
    """Plugins of the web interface: none."""
    return JSONResponse([])


async def feature_flags(_: Asked) -> Response:
    """There is nothing to enable: every node of a version does all that it can."""
    return JSONResponse([])


async def auth(_: Asked) -> Response:
    """How a browser logs in: with user and password alone."""
    return found({"enable_uaa": False, "uaa_client_id": "", "uaa_location": ""})


async def rebalance(_: Asked) -> Response:
    """Leaders go back to where they belong by themselves, every second; there is nothing to ask for."""
    return nothing()


ENDPOINTS = (
    Endpoint("GET", "/api/overview", MANAGEMENT, overview),
    Endpoint("GET", "/api/cluster-name", MANAGEMENT, cluster_name),
    Endpoint("GET", "/api/whoami", MANAGEMENT, whoami),
    Endpoint("GET", "/api/nodes", MONITORING, nodes),
    Endpoint("GET", "/api/nodes/{name}", MONITORING, node),
    Endpoint("GET", "/api/nodes/{name}/memory", MONITORING, node_memory),
    Endpoint("GET", "/api/extensions", MANAGEMENT, extensions),
    Endpoint("GET", "/api/feature-flags", MANAGEMENT, feature_flags),
    Endpoint("GET", "/api/auth", MANAGEMENT, auth),
    Endpoint("POST", "/api/rebalance/queues", ADMINISTRATOR, rebalance),
)
