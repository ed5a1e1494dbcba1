"""The JSON that the API answers with; clusterctl and others read it.

Law: keys are only added, never renamed or removed; units stand last in a key. Every list has a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.node.admin.health import GroupView, group_views, judge, not_ready_reason, state
from cluster.node.admin.report import (
    CATALOG_GROUP,
    ClusterReport,
    MemberReport,
    NodeReport,
)

Document = dict[str, Any]

_TOTALS = (
    "queues",
    "messages_ready",
    "messages_unacked",
    "messages_leaving",
    "consumers",
    "published_total",
    "confirmed_total",
    "delivered_total",
    "acknowledged_total",
    "redelivered_total",
)


def status_document(cluster: ClusterReport) -> Document:
    """`GET /api/cluster/status`: `cluster`, `verdict`, `nodes`, `groups`, `totals`, `alarms`."""
    groups = group_views(cluster)
    verdict = judge(cluster, groups)
    reports = [member.report for member in cluster.members if member.report]
    return {
        "cluster": {
            "name": cluster.cluster_name,
            "id": cluster.cluster_id,
            "answered_by": cluster.answered_by,
            "version": cluster.version,
        },
        "verdict": {
            "health": verdict.health.value,
            "nodes_up": len(reports),
            "nodes": len(cluster.members),
            "can_lose": verdict.can_lose,
            "problems": list(verdict.problems),
        },
        "nodes": [_node(member, groups) for member in cluster.members],
        "groups": [_group(group) for group in groups],
        "totals": {key: sum(getattr(report, key) for report in reports) for key in _TOTALS},
        "alarms": [{"node": report.name, "alarm": alarm} for report in reports for alarm in report.alarms],
    }


def _node(member: MemberReport, groups: Sequence[GroupView]) -> Document:
    document: Document = {"name": member.name, "address": member.address, "up": member.report is not None}
    if member.report is None:
        return document | {
            "state": "unreachable",
            "reason": member.unreachable_reason,
            "last_seen_seconds": member.last_seen_seconds,
        }
    return (
        document
        | node_document(member.report)
        | {
            "leads": sum(group.leader == member.name for group in groups),
            "lag": max((group.lags.get(member.name) or 0 for group in groups), default=0),
        }
    )


def node_document(report: NodeReport) -> Document:
    """A node as it sees itself; role, term and applied index are those of the catalog."""
    catalog = next((group for group in report.groups if group.id == CATALOG_GROUP), None)
    return {
        "name": report.name,
        "pid": report.pid,
        "version": report.version,
        "state": state(report),
        "reason": not_ready_reason(report) or "",
        "role": catalog.role if catalog else "",
        "term": catalog.term if catalog else 0,
        "applied_index": catalog.applied_index if catalog else 0,
        "groups": len(report.groups),
        "uptime_seconds": round(report.uptime_seconds, 1),
        "amqp_port": report.amqp_port,
        "amqps_port": report.amqps_port,
        "http_port": report.http_port,
        "certificate_expires_at": report.certificate_expires_at or None,
        "alarms": list(report.alarms),
        "rss_bytes": report.rss_bytes,
        "memory_watermark_bytes": report.memory_watermark_bytes,
        "payload_memory_bytes": report.payload_memory_bytes,
        "disk_used_bytes": report.disk_used_bytes,
        "disk_free_bytes": report.disk_free_bytes,
        "disk_capacity_bytes": report.disk_capacity_bytes,
        "unconfirmed_bytes_max": report.unconfirmed_bytes_max,
        "fsync_p50_ms": round(report.fsync_p50_seconds * 1000, 2),
        "fsync_p99_ms": round(report.fsync_p99_seconds * 1000, 2),
        "connections": report.connections,
        "channels": report.channels,
        "consumers": report.consumers,
    }


def _group(group: GroupView) -> Document:
    return {
        "id": group.id,
        "kind": "catalog" if group.id == CATALOG_GROUP else "shard",
        "leader": group.leader or None,
        "term": group.term,
        "commit_index": group.commit_index,
        "has_quorum": group.spare >= 0,
        "critical_nodes": list(group.critical_nodes),
        "members": [
            {
                "node": name,
                "voter": name in group.voters,
                "up": name in group.applied,
                "applied_index": group.applied.get(name),
                "lag": group.lags.get(name),
                "fault": group.faults.get(name, ""),
            }
            for name in (*group.voters, *group.learners)
        ],
    }
