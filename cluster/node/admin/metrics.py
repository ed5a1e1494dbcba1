"""The report of a node as Prometheus metrics.

Law: names begin with `clustermq_`, carry their base unit last (`_bytes`, `_seconds`) and counters `_total`
(prometheus.io/docs/practices/naming). One time series for each replica of the node; none for each queue, so that
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
    "disk_free_bytes": "Free space of the disk that holds the store",
    "connections": "Client connections of this node",
    "channels": "Open channels of this node",
    "consumers": "Consumers of this node's clients",
    "queues": "Queues this node leads or owns",
    "messages_ready": "Messages of those queues that wait for a consumer",
    "messages_unacked": "Messages of those queues that consumers hold",
}
_COUNTERS = {
    "write_rounds_total": "Write transactions, one fsync each",
    "written_bytes_total": "Log bytes written",
    "published_total": "Messages published through this node",
    "confirmed_total": "Messages confirmed to publishers of this node",
    "delivered_total": "Messages delivered to clients of this node",
    "acknowledged_total": "Messages acknowledged by clients of this node",
    "redelivered_total": "Messages delivered to clients of this node that may have been delivered before",
}
_GROUP_GAUGES = {
    "term": "Term of the group",
    "commit_index": "Last entry known to be committed",
    "applied_index": "Last entry applied",
    "last_index": "Last entry of the log",
}
_ALARMS = ("memory", "disk")


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
        fsync = GaugeMetricFamily("clustermq_fsync_seconds", "Recent time of a write", labels=["quantile"])
        fsync.add_metric(["0.5"], report.fsync_p50_seconds)
        fsync.add_metric(["0.99"], report.fsync_p99_seconds)
        yield fsync
        alarms = GaugeMetricFamily("clustermq_alarm", "1 while the alarm blocks publishers", labels=["alarm"])
        for alarm in sorted({*_ALARMS, *report.alarms}):
            alarms.add_metric([alarm], 1 if alarm in report.alarms else 0)
        yield alarms
        yield from _group_metrics(report.groups)


def _group_metrics(groups: tuple[GroupReport, ...]) -> Iterator[Metric]:
    """Of each replica on this node; a group's lag is known to its leader, and there by replica."""
    flags: dict[str, tuple[str, Callable[[GroupReport], bool]]] = {
        "leader": ("1 on the leader of the group", lambda group: group.role == "leader"),
        "has_leader": ("1 while this replica knows a leader", lambda group: bool(group.leader)),
        "stopped": ("1 when this replica stopped because of a fault", lambda group: bool(group.fault)),
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
