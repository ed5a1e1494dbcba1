"""A node that is not there: holds reports and records what it is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cluster.node.admin.report import (
    ClusterReport,
    ConnectionReport,
    GroupReport,
    MemberReport,
    NodeReport,
    QueueReport,
)
from cluster.node.admin.source import Refusal, Refused

NODES = ("mq-0", "mq-1", "mq-2")


def group_report(identifier: int, node: str, **changes: object) -> GroupReport:
    """A replica of a healthy group of three that mq-0 leads."""
    leads = node == "mq-0"
    report = GroupReport(
        id=identifier,
        role="leader" if leads else "follower",
        term=7,
        leader="mq-0",
        commit_index=100,
        applied_index=100,
        first_index=1,
        last_index=102,
        voters=NODES,
        match_indexes={"mq-1": 102, "mq-2": 99} if leads else {},
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def node_report(name: str, **changes: object) -> NodeReport:
    """A healthy node with the catalog and one shard."""
    report = NodeReport(
        name=name,
        pid=100 + NODES.index(name),
        version="1.2.0",
        phase="running",
        uptime_seconds=7_860.0,
        amqp_port=5672,
        http_port=15672,
        groups=(group_report(0, name), group_report(1, name)),
        rss_bytes=112 << 20,
        memory_watermark_bytes=512 << 20,
        disk_used_bytes=1 << 30,
        disk_free_bytes=9 << 30,
        fsync_p99_seconds=0.0031,
        connections=41,
        queues=2,
        messages_ready=10,
        messages_unacked=1,
        published_total=1000,
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def cluster_report(*reports: NodeReport) -> ClusterReport:
    """The members NODES; those without a report are down."""
    answers = {report.name: report for report in reports}
    members = tuple(
        MemberReport(
            name=name,
            address=f"10.0.1.{index}:25672",
            report=answers.get(name),
            unreachable_reason="" if name in answers else "connection refused",
            last_seen_seconds=None if name in answers else 42.0,
        )
        for index, name in enumerate(NODES)
    )
    return ClusterReport(
        cluster_name="orders-mq", cluster_id="c1", answered_by="mq-1", version="1.2.0", members=members
    )


class FakeSource:
    """A `NodeSource` over fixed reports."""

    def __init__(self, *reports: NodeReport) -> None:
        self.reports = reports or tuple(map(node_report, NODES))
        self.local = self.reports[0]
        self.transfers: list[tuple[int, str]] = []
        self.timeouts: list[float] = []
        self.fault: Exception | None = None
        self.users: dict[tuple[str, str], frozenset[str]] = {
            ("guest", "guest"): frozenset({"administrator"}),
            ("watch", "w:w"): frozenset({"monitoring"}),
            ("app", "app"): frozenset(),
        }

    def local_report(self) -> NodeReport:
        if self.fault:
            raise self.fault
        return self.local

    async def cluster_report(self, timeout_seconds: float) -> ClusterReport:
        self.timeouts.append(timeout_seconds)
        return cluster_report(*self.reports)

    async def queues(self, timeout_seconds: float) -> Sequence[QueueReport]:
        return [
            QueueReport(
                name="orders",
                vhost="/",
                durable=True,
                leader="mq-0",
                members=NODES,
                group=1,
                messages_ready=9,
                messages_unacked=1,
                consumers=2,
            )
        ]

    async def connections(self, timeout_seconds: float) -> Sequence[ConnectionReport]:
        return [
            ConnectionReport(
                name="10.0.0.5:40312 -> 10.0.0.7:5672",
                node="mq-0",
                user="guest",
                vhost="/",
                state="running",
                channels=1,
                connected_at=1_790_000_000.0,
                client="pika 1.3.2",
            )
        ]

    async def transfer(self, group: int, node: str) -> None:
        if group > 1:
            raise Refused(Refusal.NOT_FOUND, f"there is no group {group}")
        if node == "mq-2":
            raise Refused(Refusal.CONFLICT, "mq-2 is 3,653 entries behind")
        self.transfers.append((group, node))

    async def authenticate(self, user: str, password: str, *, peer_host: str) -> frozenset[str] | None:
        assert peer_host == "127.0.0.1"
        return self.users.get((user, password))
