"""A node that is not there: holds reports and records what it is asked to do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.commands import DeclareQueue, DeleteQueue, SingleCommand
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import GroupId, QueueId
from cluster.broker.catalog.outcome import Refused as RefusedCommand
from cluster.node.admin.report import (
    ChannelReport,
    ClusterReport,
    ConnectionReport,
    ConsumerReport,
    ExchangeFlow,
    GroupReport,
    MemberReport,
    NodeReport,
    Phase,
    QueueCounts,
    QueueFlow,
    QueueReport,
    VhostFlow,
)
from cluster.node.admin.source import Refusal, Refused
from tests.broker.catalog.build import Founded

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
        disk_capacity_bytes=10 << 30,
        unconfirmed_bytes_max=32 << 20,
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


class FakeOperations:
    """`Operations` over a catalog of its own, which applies at once; every queue holds `messages`."""

    def __init__(self) -> None:
        self.founded = Founded()
        self.commands: list[SingleCommand] = []
        self.missed: list[SingleCommand] = []
        """What this node's copy of the catalog does not have yet."""
        self.purged: list[QueueDefinition] = []
        self.closed: list[tuple[str, str]] = []
        self.messages = 9
        self.enqueued = 100
        self.has_quorum = True

    @property
    def home(self) -> tuple[int, int]:
        return 1, 1

    async def submit(self, command: SingleCommand) -> None:
        self._need_quorum()
        self.commands.append(command)
        outcome = self.founded.apply(command)
        if isinstance(outcome, RefusedCommand):
            raise outcome.error

    def _need_quorum(self) -> None:
        if not self.has_quorum:
            raise Refused(Refusal.UNAVAILABLE, "the catalog has no leader with a quorum")

    async def counts(self, queue: QueueDefinition) -> QueueCounts:
        return QueueCounts(self.messages, 1, 2, 0, self.enqueued, self.enqueued - self.messages, self.enqueued)

    async def catch_up(self) -> None:
        self._need_quorum()
        for command in self.missed:
            self.founded.ok(command)
        self.missed.clear()

    async def purge(self, find: Callable[[], QueueDefinition]) -> int:
        self.purged.append(find())
        return self.messages

    async def retry(self, find: Callable[[], QueueDefinition]) -> int:
        return 0

    async def delete_queue(self, find: Callable[[], QueueDefinition | None], *, if_unused: bool, if_empty: bool) -> int:
        queue = find()
        assert queue is not None
        await self.submit(DeleteQueue(queue.vhost, queue.name, queue.id))
        return self.messages

    async def pass_through(self, queue: QueueDefinition) -> None:
        if queue.name != "aliveness-test":
            raise Refused(Refusal.UNAVAILABLE, f"{queue.label} has no leader with a quorum")

    async def close_connection(self, name: str, reason: str) -> bool:
        self.closed.append((name, reason))
        return True


class FakeService:
    """`Maintenance` that is drained at once."""

    def __init__(self) -> None:
        self.phase: Phase = "running"
        self.taken_port = ""

    def drain(self) -> None:
        self.phase = "drained"

    def revive(self) -> None:
        if self.taken_port:
            raise OSError(98, self.taken_port)
        self.phase = "running"


class FakeSource:
    """A `NodeSource` over fixed reports and a catalog with the queue `orders`."""

    def __init__(self, *reports: NodeReport) -> None:
        self.operations = FakeOperations()
        self.service = FakeService()
        self.operations.founded.ok(DeclareQueue("/", "orders", True, False, False))
        self.reports = reports or tuple(map(node_report, NODES))
        self.local = self.reports[0]
        self.verdict = "agree"
        self.transfers: list[tuple[int, str]] = []
        self.timeouts: list[float] = []
        self.fault: Exception | None = None
        self.removed: list[str] = []
        self.vhosts_flowed: list[VhostFlow] = []
        self.exchanges_flowed: list[ExchangeFlow] = []
        self.queues_flowed: list[QueueFlow] = []
        self.users: dict[tuple[str, str], frozenset[str]] = {
            ("guest", "guest"): frozenset({"administrator"}),
            ("watch", "w:w"): frozenset({"monitoring"}),
            ("app", "app"): frozenset(),
            ("team", "t"): frozenset({"management"}),
            ("rules", "r"): frozenset({"policymaker"}),
        }

    @property
    def catalog(self) -> Catalog:
        return self.operations.founded.catalog

    def local_report(self) -> NodeReport:
        if self.fault:
            raise self.fault
        return self.local

    async def cluster_report(self, timeout_seconds: float) -> ClusterReport:
        self.timeouts.append(timeout_seconds)
        return cluster_report(*self.reports)

    async def queue_counts(
        self, timeout_seconds: float, queues: Sequence[QueueId] | None = None, *, weighed: bool = True
    ) -> Mapping[int, QueueCounts]:
        wanted = self.catalog.queues if queues is None else queues
        return {queue: await self.operations.counts(self.catalog.queues[queue]) for queue in wanted}

    async def vhost_flows(self, timeout_seconds: float) -> Sequence[VhostFlow]:
        return self.vhosts_flowed

    async def exchange_flows(self, timeout_seconds: float) -> Sequence[ExchangeFlow]:
        return self.exchanges_flowed

    async def queue_flows(self, timeout_seconds: float, queues: Sequence[QueueId] | None = None) -> Sequence[QueueFlow]:
        return [flow for flow in self.queues_flowed if queues is None or flow.queue in queues]

    def queue_report(self, queue: QueueDefinition, counts: QueueCounts) -> QueueReport:
        holders = tuple([NODES[node - 1] for node in self.catalog.placement[GroupId(queue.shard)]])
        return QueueReport(
            name=queue.name,
            vhost=queue.vhost,
            durable=queue.durable,
            leader=holders[0],
            members=holders,
            group=int(queue.shard),
            messages_ready=counts.ready,
            messages_unacked=counts.unacked,
            consumers=counts.consumers,
            messages_parked=counts.parked,
            messages_leaving=counts.leaving,
            enqueued_total=counts.enqueued,
            settled_total=counts.settled,
            delivered_total=counts.delivered,
        )

    async def channels(self, timeout_seconds: float) -> Sequence[ChannelReport]:
        name = (await self.connections(timeout_seconds))[0].name
        return [
            ChannelReport(
                connection=name,
                number=1,
                node="mq-0",
                user="guest",
                vhost="/",
                state="running",
                confirm=True,
                consumers=1,
                messages_unacked=3,
                prefetch_count=10,
                global_prefetch_count=0,
            )
        ]

    async def consumers(self, timeout_seconds: float) -> Sequence[ConsumerReport]:
        name = (await self.connections(timeout_seconds))[0].name
        return [
            ConsumerReport(
                queue="orders",
                vhost="/",
                consumer_tag="ctag1",
                connection=name,
                channel=1,
                node="mq-0",
                user="guest",
                ack_required=True,
                exclusive=False,
                prefetch_count=10,
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

    def amqp_client(self) -> trio.SocketStream:
        """Nobody serves AMQP here: who asks finds the connection closed."""
        ours, theirs = socket.socketpair()
        ours.close()
        return trio.SocketStream(trio.socket.from_stdlib_socket(theirs))

    async def verify(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "groups": []}

    async def transfer(self, group: int, node: str) -> None:
        if group > 1:
            raise Refused(Refusal.NOT_FOUND, f"there is no group {group}")
        if node == "mq-2":
            raise Refused(Refusal.CONFLICT, "mq-2 is 3,653 entries behind")
        self.transfers.append((group, node))

    async def remove(self, node: str) -> None:
        if node not in NODES:
            raise Refused(Refusal.CONFLICT, f"there is no member {node}")
        self.removed.append(node)

    async def authenticate(self, user: str, password: str, *, peer_host: str) -> frozenset[str] | None:
        assert peer_host == "127.0.0.1"
        return self.users.get((user, password))
