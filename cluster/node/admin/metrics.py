"""The report of a node as Prometheus metrics.

Law: names begin with `clustermq_`, carry their base unit last (`_bytes`, `_seconds`) and counters `_total`
(prometheus.io/docs/practices/naming); what RabbitMQ's own dashboards and alerts ask for is there under its name there
too. One time series for each replica of the node; none for each queue, so that
the size of an answer does not grow with what users declare. A scrape makes the text and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from cluster.node.admin.health import not_ready_reason
from cluster.node.admin.report import GroupReport, NodeReport

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_GAUGES = {
    "uptime_seconds": "Time since the node started",
    "rss_bytes": "Resident memory of the process",
    "memory_watermark_bytes": "Resident memory at which publishers are blocked",
    "payload_memory_bytes": "Message payloads kept in memory",
    "disk_used_bytes": "What the store holds; its file may be larger, and never shrinks",
    "disk_capacity_bytes": "What the store could hold in all: its largest size, or less where the disk has less",
    "disk_free_bytes": "Free space of the disk that holds the store",
    "unconfirmed_bytes_max": "What clients of this node may have published and unconfirmed in all",
    "connections": "Client connections of this node",
    "channels": "Open channels of this node",
    "consumers": "Consumers of this node's clients",
    "queues": "Queues this node leads or owns",
    "messages_ready": "Messages of those queues that wait for a consumer",
    "messages_unacked": "Messages of those queues that consumers hold",
    "messages_leaving": "Messages of those queues on their way to a dead letter exchange, and on to other shards",
}
_COUNTERS = {
    "write_rounds_total": "Write transactions, one fsync each",
    "written_bytes_total": "Log bytes written",
    "published_total": "Messages published through this node",
    "confirmed_total": "Messages confirmed to publishers of this node",
    "refused_total": "Messages of publishers of this node that were not stored: nacked, or dropped without confirms",
    "delivered_total": "Messages delivered to clients of this node",
    "acknowledged_total": "Messages acknowledged by clients of this node",
    "redelivered_total": "Messages delivered to clients of this node that may have been delivered before",
}
_RABBITMQ_GAUGES = {
    "connections": "connections",
    "channels": "channels",
    "consumers": "consumers",
    "queues": "queues",
    "queue_messages_ready": "messages_ready",
    "queue_messages_unacked": "messages_unacked",
    "process_resident_memory_bytes": "rss_bytes",
    "resident_memory_limit_bytes": "memory_watermark_bytes",
    "disk_space_available_bytes": "disk_free_bytes",
    "disk_space_available_limit_bytes": "disk_free_min_bytes",
    "process_open_fds": "files_open",
    "process_max_fds": "files_max",
    "process_open_tcp_sockets": "connections",
    "process_max_tcp_sockets": "files_max",
}
_RABBITMQ_COUNTERS = {
    "connections_opened_total": "connections_opened_total",
    "channels_opened_total": "channels_opened_total",
    "global_messages_received_total": "published_total",
    "global_messages_confirmed_total": "confirmed_total",
    "global_messages_delivered_total": "delivered_total",
    "global_messages_acknowledged_total": "acknowledged_total",
    "global_messages_redelivered_total": "redelivered_total",
    "global_messages_unroutable_returned_total": "returned_total",
}
"""Name after `rabbitmq_` in RabbitMQ's prometheus plugin -> what it is in a report."""
_GROUP_GAUGES = {
    "term": "Term of the group",
    "commit_index": "Last entry known to be committed",
    "applied_index": "Last entry applied",
    "last_index": "Last entry of the log",
}
_ALARMS = ("memory", "disk", "disk-of-others")


def metrics_text(report: NodeReport) -> bytes:
    """The answer to a scrape, in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(report))
    return generate_latest(registry)


class _NodeCollector(Collector):
    def __init__(self, report: NodeReport) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report
        yield InfoMetricFamily("clustermq_node", "The node", value={"name": report.name, "version": report.version})
        ready = 0 if not_ready_reason(report) else 1
        yield GaugeMetricFamily("clustermq_ready", "1 while the node serves clients", value=ready)
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"clustermq_{name}", text, value=getattr(report, name))
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"clustermq_{name}", text, value=getattr(report, name))
        yield GaugeMetricFamily(
            "clustermq_certificate_expires_seconds",
            "Unix time at which the node's certificate expires; 0 without one",
            value=report.certificate_expires_at,
        )
        fsync = GaugeMetricFamily("clustermq_fsync_seconds", "Recent time of a write", labels=["quantile"])
        fsync.add_metric(["0.5"], report.fsync_p50_seconds)
        fsync.add_metric(["0.99"], report.fsync_p99_seconds)
        yield fsync
        alarms = GaugeMetricFamily("clustermq_alarm", "1 while the alarm blocks publishers", labels=["alarm"])
        for alarm in sorted({*_ALARMS, *report.alarms}):
            alarms.add_metric([alarm], 1 if alarm in report.alarms else 0)
        yield alarms
        yield from _group_metrics(report.groups)
        yield from _rabbitmq_metrics(report)


def _group_metrics(groups: tuple[GroupReport, ...]) -> Iterator[Metric]:
    """Of each replica on this node; a group's lag is known to its leader, and there by replica."""
    flags: dict[str, tuple[str, Callable[[GroupReport], bool]]] = {
        "leader": ("1 on the leader of the group", lambda group: group.role == "leader"),
        "has_leader": ("1 while this replica knows a leader", lambda group: bool(group.leader)),
        "stopped": ("1 while this replica has no vote because of a fault", lambda group: bool(group.fault)),
    }
    for name, (text, holds) in flags.items():
        metric = GaugeMetricFamily(f"clustermq_group_{name}", text, labels=["group"])
        for group in groups:
            metric.add_metric([str(group.id)], int(holds(group)))
        yield metric
    for name, text in _GROUP_GAUGES.items():
        metric = GaugeMetricFamily(f"clustermq_group_{name}", text, labels=["group"])
        for group in groups:
            metric.add_metric([str(group.id)], getattr(group, name))
        yield metric
    lag = GaugeMetricFamily(
        "clustermq_group_replica_lag", "Entries a replica's log is behind its leader's", labels=["group", "replica"]
    )
    for group in groups:
        for name, index in sorted(group.match_indexes.items()):
            lag.add_metric([str(group.id), name], max(0, group.last_index - index))
    yield lag


def _rabbitmq_metrics(report: NodeReport) -> Iterator[Metric]:
    identity = {"rabbitmq_node": report.name}
    yield InfoMetricFamily("rabbitmq_identity", "The node, for queries that join over it", value=identity)
    yield InfoMetricFamily("rabbitmq_build", "The node's version", value={"product_version": report.version})
    for name, field in _RABBITMQ_GAUGES.items():
        text = f"clustermq's {field} under RabbitMQ's name"
        yield GaugeMetricFamily(f"rabbitmq_{name}", text, value=getattr(report, field))
    yield GaugeMetricFamily("rabbitmq_queue_messages", "Messages of the queues this node leads", value=report.messages)
    for name, field in _RABBITMQ_COUNTERS.items():
        text = f"clustermq's {field} under RabbitMQ's name"
        yield CounterMetricFamily(f"rabbitmq_{name}", text, value=getattr(report, field))
    for name, alarm in (("memory_used_watermark", "memory"), ("free_disk_space_watermark", "disk")):
        is_on = int(alarm in report.alarms)
        yield GaugeMetricFamily(f"rabbitmq_alarms_{name}", f"1 while the {alarm} alarm is on", value=is_on)
