"""The cluster as a whole: overview, who asks, what there is.

Law: `rabbitmq_version` is the release whose interface is followed here, for clients that look at it; ours is
`product_version`.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.node.admin.api.answers import depths, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, MANAGEMENT
from cluster.node.admin.api.fields import Document
from cluster.node.admin.api.figures import flow_row, summed
from cluster.node.admin.api.nodes import RATES_MODE, churn, context_document, exchange_types
from cluster.node.admin.report import ClusterReport, NodeReport
from cluster.node.cluster_name import cluster_name as named

FOLLOWED_VERSION = "3.10.8"
_FEATURES = {
    "drop_unroutable_metric": "publishes that go nowhere are counted",
    "empty_basic_get_metric": "basic.get of empty queues is counted",
    "implicit_default_bindings": "every queue is bound to the default exchange",
    "maintenance_mode_status": "nodes can leave service and come back",
    "quorum_queue": "replicated queues",
    "user_limits": "users have limits of connections and channels",
    "virtual_host_metadata": "vhosts have descriptions and tags",
}
"""RabbitMQ's names of what is there, and what it is."""


def overview_document(cluster: ClusterReport, asked: Asked) -> Document:
    """`disk_reads` are entries of logs that were read back, `disk_writes` write rounds, whatever came together."""
    reports = [member.report for member in cluster.members if member.report is not None]
    seen = list(asked.caller.vhosts())

    def total(name: str) -> int:
        return sum(getattr(report, name) for report in reports)

    flow = summed([flow_row(report) for report in reports])
    disk = {"disk_reads": total("entries_read_total"), "disk_writes": total("write_rounds_total")}
    churned = [churn(report) for report in reports]
    return {
        "management_version": FOLLOWED_VERSION,
        "rabbitmq_version": FOLLOWED_VERSION,
        "product_name": "cluster-mq",
        "product_version": cluster.version,
        "cluster_name": cluster.cluster_name,
        "cluster_id": cluster.cluster_id,
        "node": cluster.answered_by,
        "rates_mode": RATES_MODE,
        "disable_stats": False,
        "enable_queue_totals": False,
        "sample_retention_policies": {"basic": [], "detailed": [], "global": []},
        "statistics_db_event_queue": 0,
        "exchange_types": exchange_types(),
        "object_totals": {
            "connections": total("connections"),
            "channels": total("channels"),
            "consumers": total("consumers"),
            "exchanges": sum(len(vhost.exchanges) for vhost in seen),
            "queues": sum(len(vhost.queues) for vhost in seen),
        },
        "queue_totals": asked.levels(
            "lengths", "depth", depths(total("messages_ready"), total("messages_unacked"), total("messages"))
        ),
        "message_stats": asked.counted("msg_rates", "flow", flow | disk),
        "churn_rates": asked.counted(
            "msg_rates",
            "churn",
            {word: sum([counts[word] for counts in churned]) for word in (churned[0] if churned else ())},
        ),
        "contexts": [{"node": report.name, **context_document(report)} for report in reports],
        "listeners": [listener for report in reports for listener in _listener_documents(report)],
    }


def listeners(report: NodeReport) -> list[tuple[str, int]]:
    """Protocol and port of what the node listens on."""
    ports = (
        ("amqp", report.amqp_port),
        ("amqp/ssl", report.amqps_port),
        ("clustering", report.peer_port),
        ("http", report.http_port),
    )
    return [(protocol, port) for protocol, port in ports if port]


def _listener_documents(report: NodeReport) -> list[Document]:
    hosts = {"clustering": report.peer_host, "http": report.http_host}
    return [
        {
            "node": report.name,
            "protocol": protocol,
            "ip_address": hosts.get(protocol, report.amqp_host) or "::",
            "port": port,
            "socket_opts": {"nodelay": True} if protocol.startswith("amqp") else {},
        }
        for protocol, port in listeners(report)
    ]


async def overview(asked: Asked) -> Response:
    return found(asked, overview_document(await asked.node.cluster_report(asked.timeout_seconds()), asked))


async def cluster_name(asked: Asked) -> Response:
    return found(asked, {"name": named(asked.catalog, asked.catalog.cluster_name)})


async def whoami(asked: Asked) -> Response:
    return found(asked, {"name": asked.caller.name, "tags": sorted(asked.caller.tags)})


async def extensions(_: Asked) -> Response:
    """Plugins of the web interface: none."""
    return JSONResponse([])


async def feature_flags(asked: Asked) -> Response:
    """What clients look for. There is nothing to enable: every node of a version does all that it can."""
    flags = [
        {
            "name": name,
            "desc": about,
            "doc_url": "",
            "provided_by": "cluster_mq",
            "stability": "stable",
            "state": "enabled",
        }
        for name, about in _FEATURES.items()
    ]
    return await listed(asked, flags, dict)


async def enable_feature_flag(asked: Asked) -> Response:
    """All that there are, are enabled. Raises HTTPException 400."""
    if asked.part("name") not in _FEATURES:
        raise HTTPException(400, "unsupported")
    return nothing()


async def auth(asked: Asked) -> Response:
    """How a browser logs in: with user and password alone."""
    return found(asked, {"enable_uaa": False, "uaa_client_id": "", "uaa_location": ""})


async def rebalance(_: Asked) -> Response:
    """Leaders go back to where they belong by themselves, every second; there is nothing to ask for."""
    return nothing()


ENDPOINTS = (
    Endpoint("GET", "/api/overview", MANAGEMENT, overview),
    Endpoint("GET", "/api/cluster-name", MANAGEMENT, cluster_name),
    Endpoint("GET", "/api/whoami", MANAGEMENT, whoami),
    Endpoint("GET", "/api/extensions", MANAGEMENT, extensions),
    Endpoint("GET", "/api/feature-flags", MANAGEMENT, feature_flags),
    Endpoint("PUT", "/api/feature-flags/{name}/enable", ADMINISTRATOR, enable_feature_flag),
    Endpoint("GET", "/api/auth", MANAGEMENT, auth),
    Endpoint("POST", "/api/rebalance/queues", ADMINISTRATOR, rebalance),
)
