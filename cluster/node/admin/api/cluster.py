"""The cluster as a whole: overview, nodes, who asks, and health checks.

Law: a check answers 200 with `{"status": "ok"}`, or 503 with `failed` and the reason in one line. `rabbitmq_version`
is the release whose interface is followed here, for clients that look at it; ours is `product_version`.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.definitions import DELAYED
from cluster.broker.catalog.ids import NO_CONNECTION
from cluster.broker.routing.table import EXCHANGE_TYPES
from cluster.node.admin.api.answers import depths, found, listed
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT, MONITORING
from cluster.node.admin.api.fields import Document
from cluster.node.admin.health import group_views, not_ready_reason
from cluster.node.admin.report import ClusterReport, MemberReport, NodeReport

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
PROTOCOLS = ("amqp", "amqp091", "http")
PROBE_QUEUE = "aliveness-test"


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
        "exchange_types": [{"name": name, "enabled": True} for name in (*EXCHANGE_TYPES, DELAYED)],
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
        "contexts": [{"node": report.name, "path": "/", "port": report.http_port} for report in reports],
        "listeners": [
            {"node": report.name, "protocol": protocol, "port": port}
            for report in reports
            for protocol, port in (("amqp", report.amqp_port), ("http", report.http_port))
        ],
    }


async def overview(asked: Asked) -> Response:
    return found(overview_document(await asked.node.cluster_report(asked.timeout_seconds()), asked))


async def cluster_name(asked: Asked) -> Response:
    return found({"name": asked.catalog.cluster_name})


async def whoami(asked: Asked) -> Response:
    return found({"name": asked.caller.name, "tags": sorted(asked.caller.tags)})


async def nodes(asked: Asked) -> Response:
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    return await listed(asked, list(cluster.members), lambda member: node_document(member, cluster.answered_by))


async def node(asked: Asked) -> Response:
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    for member in cluster.members:
        if member.name == asked.part("name"):
            return found(node_document(member, cluster.answered_by))
    raise HTTPException(404, f"no node '{asked.part('name')}'")


# ---- checks


def _ok() -> Response:
    return JSONResponse({"status": "ok"})


def _failed(reason: str, **more: object) -> Response:
    return JSONResponse({"status": "failed", "reason": reason, **more}, status_code=503)


def _alarms(reports: list[NodeReport]) -> Response:
    alarms = [{"node": report.name, "resource": alarm} for report in reports for alarm in report.alarms]
    if not alarms:
        return _ok()
    named = ", ".join([f"{alarm['resource']} on {alarm['node']}" for alarm in alarms])
    return _failed(f"alarms block publishers: {named}", alarms=alarms)


async def check_alarms(asked: Asked) -> Response:
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    return _alarms([member.report for member in cluster.members if member.report is not None])


async def check_local_alarms(asked: Asked) -> Response:
    return _alarms([asked.node.local_report()])


async def check_quorum_critical(asked: Asked) -> Response:
    """A node without others is not critical to anyone else."""
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    name = cluster.answered_by
    groups = [view for view in group_views(cluster) if name in view.critical_nodes or view.spare < 0]
    if not groups or len(cluster.members) == 1:
        return _ok()
    named = ", ".join([str(view.id) for view in groups])
    return _failed(
        f"groups {named} have no quorum without {name}",
        queues=[{"group": view.id, "name": f"group {view.id}", "type": "group"} for view in groups],
    )


async def check_serving(asked: Asked) -> Response:
    reason = not_ready_reason(asked.node.local_report())
    return _failed(reason) if reason else _ok()


async def check_port_listener(asked: Asked) -> Response:
    report = asked.node.local_report()
    ports = {str(report.amqp_port), str(report.http_port)}
    port = asked.part("port")
    return _ok() if port in ports else _failed(f"there is no listener on port {port}", ports=sorted(ports))


async def check_protocol_listener(asked: Asked) -> Response:
    protocol = asked.part("protocol")
    return _ok() if protocol in PROTOCOLS else _failed(f"there is no listener for {protocol}", protocols=PROTOCOLS)


async def check_in_service(asked: Asked) -> Response:
    phase = asked.node.local_report().phase
    return _ok() if phase == "running" else _failed(phase)


async def aliveness(asked: Asked) -> Response:
    """Declares a queue, brings a message into it with a quorum, and takes it out."""
    vhost = asked.vhost_to_change()
    command = c.DeclareQueue(vhost.name, PROBE_QUEUE, True, False, False)
    checks, user = asked.catalog.checks, asked.caller.name
    if vhost.queues.get(PROBE_QUEUE) is None and checks.declare_queue(user, command) is None:
        await asked.node.operations.submit(command)
    queue = checks.read_queue(user, vhost.name, PROBE_QUEUE, NO_CONNECTION)
    asked.caller.catalog.checks.publish(user, vhost.name, "", PROBE_QUEUE)
    await asked.node.operations.pass_through(queue)
    return _ok()


_CHECKS = "/api/health/checks"

ENDPOINTS = (
    Endpoint("GET", "/api/overview", MANAGEMENT, overview),
    Endpoint("GET", "/api/cluster-name", MANAGEMENT, cluster_name),
    Endpoint("GET", "/api/whoami", MANAGEMENT, whoami),
    Endpoint("GET", "/api/nodes", MONITORING, nodes),
    Endpoint("GET", "/api/nodes/{name}", MONITORING, node),
    Endpoint("GET", f"{_CHECKS}/alarms", MANAGEMENT, check_alarms),
    Endpoint("GET", f"{_CHECKS}/local-alarms", MANAGEMENT, check_local_alarms),
    Endpoint("GET", f"{_CHECKS}/node-is-quorum-critical", MANAGEMENT, check_quorum_critical),
    Endpoint("GET", f"{_CHECKS}/ready-to-serve-clients", MANAGEMENT, check_serving),
    Endpoint("GET", f"{_CHECKS}/is-in-service", MANAGEMENT, check_in_service),
    Endpoint("GET", f"{_CHECKS}/port-listener/{{port}}", MANAGEMENT, check_port_listener),
    Endpoint("GET", f"{_CHECKS}/protocol-listener/{{protocol}}", MANAGEMENT, check_protocol_listener),
    Endpoint("GET", "/api/aliveness-test/{vhost}", MANAGEMENT, aliveness),
)
