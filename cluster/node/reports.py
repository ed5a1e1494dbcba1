"""What the node tells the admin interface, and other nodes for theirs.

Law: a report is made from counters, without waiting. Another node that does not answer within the time is reported as
unreachable, with the reason; it is never waited for longer.
"""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from cluster.broker.catalog import ids as catalog_ids
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.state import Member
from cluster.node.admin.operations import NodeOperations
from cluster.node.admin.queue_figures import QueueFigures
from cluster.node.admin.report import (
    ChannelReport,
    ClusterReport,
    ConnectionReport,
    ConsumerReport,
    ExchangeFlow,
    GroupReport,
    LinkReport,
    MemberReport,
    NodeReport,
    QueueCounts,
    QueueFlow,
    QueueReport,
    ReplicaRole,
    VhostFlow,
    decode_report,
    encode_report,
)
from cluster.node.admin.sessions import Sessions
from cluster.node.admin.source import Refusal, Refused
from cluster.node.alarms import alarms_of, process_bytes
from cluster.node.amqp.broker import Broker
from cluster.node.amqp.listener import own_client
from cluster.node.amqp.login import Login
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.cluster_name import cluster_name
from cluster.node.config import NodeConfig
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import LinkError, RequestError
from cluster.node.membership.removal import Removal
from cluster.node.service import Service
from cluster.node.tls import Certificates
from cluster.node.verification import Verification
from cluster.raft.group import NotLeader, ProposalDropped, Role
from cluster.raft.types import NOBODY, GroupId, NodeId
from cluster.store.lmdb_store import LmdbStore

_ROLES: dict[Role, ReplicaRole] = {
    Role.LEADER: "leader",
    Role.FOLLOWER: "follower",
    Role.CANDIDATE: "candidate",
    Role.PRE_CANDIDATE: "candidate",
}


def _threads_max() -> int:
    """How many the system lets this user or the machine have."""
    own = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    machine = int(Path("/proc/sys/kernel/threads-max").read_text(encoding="ascii"))
    return machine if own == resource.RLIM_INFINITY else min(own, machine)


_THREADS_MAX = _threads_max()


class Reports:
    """A `NodeSource`."""

    def __init__(
        self,
        config: NodeConfig,
        core: Core,
        broker: Broker,
        store: LmdbStore,
        service: Service,
        certificates: Certificates | None,
        version: str,
    ) -> None:
        self.service = service
        self._certificates = certificates
        self._config = config
        self._core = core
        self._broker = broker
        self._store = store
        self._version = version
        self._began = trio.current_time()
        self._seen: dict[NodeId, float] = {}
        self._logins = self._logins_refused = 0
        self._queue_figures = QueueFigures(core)
        self._sessions = Sessions(core, broker, config.node.name)
        self._removal = Removal(core)
        self._verification = Verification(core)
        self.operations = NodeOperations(core, broker)

    def requests(self) -> dict[int, Request]:
        """What other nodes ask."""
        own: dict[int, Request] = {
            Kind.REPORT: self._give_report,
            Kind.TRANSFER: self._give_transfer,
        }
        others = (self._sessions, self._queue_figures, self.operations, self._removal, self._verification)
        return own | {kind: request for other in others for kind, request in other.requests().items()}

    @property
    def catalog(self) -> Catalog:
        return self._core.catalog.catalog

    def amqp_client(self) -> trio.SocketStream:
        return trio.SocketStream(trio.socket.from_stdlib_socket(own_client(self._broker)))

    def local_report(self) -> NodeReport:
        core, broker = self._core, self._broker
        statistics = core.runtime.statistics()
        store, disk_free_bytes = self._store.statistics(), shutil.disk_usage(self._config.data_dir).free
        leaders = [seat.leader for seat in core.switchboard.seats.values() if seat.leader is not None]
        queues = [queue for leader in leaders for queue in leader.queues.values()]
        counters, flows = broker.counters, broker.flows
        flow = flows.total(broker.connections.values())
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return NodeReport(
            name=self._config.node.name,
            pid=os.getpid(),
            version=self._version,
            phase=self.service.phase,
            waiting_for=self.service.waiting_for,
            uptime_seconds=trio.current_time() - self._began,
            amqp_port=self._config.amqp.port,
            amqps_port=self._config.amqp.tls_port if self._certificates is not None else 0,
            certificate_expires_at=self._certificates.expires_at if self._certificates is not None else 0.0,
            http_port=self._config.http.port,
            groups=tuple([self._group(group) for group in self._held()]),
            alarms=alarms_of(core, broker),
            rss_bytes=process_bytes(),
            memory_watermark_bytes=self._config.memory_watermark_bytes(),
            payload_memory_bytes=sum(leader.figures.payload_bytes for leader in leaders),
            disk_used_bytes=store.used_bytes,
            disk_free_bytes=disk_free_bytes,
            disk_capacity_bytes=store.capacity_bytes(disk_free_bytes),
            unconfirmed_bytes_max=int(broker.unconfirmed.size_max),
            fsync_p50_seconds=statistics.write_seconds_p50,
            fsync_p99_seconds=statistics.write_seconds_p99,
            write_rounds_total=statistics.writes,
            written_bytes_total=statistics.bytes_written,
            connections=len(broker.connections),
            channels=sum(len(connection.channels) for connection in broker.connections.values()),
            consumers=sum(
                len(channel.consumers)
                for connection in broker.connections.values()
                for channel in connection.channels.values()
            ),
            queues=self._queues_led(),
            messages_ready=sum(queue.ready.count for queue in queues),
            messages_unacked=sum(queue.unacked.count for queue in queues),
            published_total=flow.publish,
            confirmed_total=flow.confirm,
            delivered_total=flow.deliver + flow.deliver_no_ack,
            acknowledged_total=flow.ack,
            redelivered_total=flow.redeliver,
            returned_total=flow.return_unroutable,
            connections_opened_total=counters.connections_opened,
            channels_opened_total=counters.channels_opened,
            disk_free_min_bytes=self._config.limits.disk_free_min,
            files_open=len(os.listdir("/proc/self/fd")),
            files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            flow=tuple(flow.row()),
            queues_declared_total=counters.queues_declared,
            queues_created_total=flows.queues_created,
            queues_deleted_total=flows.queues_deleted,
            logins_total=counters.logins,
            logins_refused_total=counters.logins_refused,
            http_logins_total=self._logins,
            http_logins_refused_total=self._logins_refused,
            entries_read_total=sum([leader.figures.payload_reads for leader in leaders]),
            messages_leaving=sum([leader.figures.leaving for leader in leaders]),
            processors=os.cpu_count() or 1,
            threads=threading.active_count(),
            threads_max=_THREADS_MAX,
            tasks_runnable=trio.lowlevel.current_statistics().tasks_runnable,
            context_switches_total=usage.ru_nvcsw + usage.ru_nivcsw,
            data_dir=str(self._config.data_dir),
            amqp_host=self._config.amqp.host,
            http_host=self._config.http.host,
            peer_host=self._config.peer.host,
            peer_port=self._config.peer.port,
            links=self._links(),
            refused_total=counters.publishes_refused,
        )

    def _links(self) -> tuple[LinkReport, ...]:
        members = self._core.members
        return tuple(
            [
                LinkReport(members.name_of(peer.node), member.host, member.port, peer.bytes_sent, peer.bytes_received)
                for peer in self._core.links.statistics().peers
                if peer.up and (member := members.by_id.get(peer.node)) is not None
            ]
        )

    def _queues_led(self) -> int:
        """By the catalog: a leader itself knows only those that something was done to."""
        catalog = self.catalog
        led = [seat.shard for seat in self._core.switchboard.seats.values() if seat.leader is not None]
        here = len(catalog.queues_at(catalog_ids.NodeId(self._core.node)))
        return here + sum([catalog.queues_of_shard(catalog_ids.GroupId(shard)) for shard in led])

    def _held(self) -> list[GroupId]:
        return [CATALOG_GROUP, *sorted([host.group for host in self._core.switchboard.hosts()])]

    def _group(self, group: GroupId) -> GroupReport:
        report = self._core.runtime.report(group)
        status = report.status
        if status is None:
            return GroupReport(group, "stopped", 0, "", 0, 0, 0, 0, (), fault=report.stopped)
        configuration, name_of = status.configuration, self._core.members.name_of
        role: ReplicaRole = "learner" if self._core.node in configuration.learners else _ROLES[status.role]
        fault = f"no room: {report.refused}" if report.refused else ""
        if report.repairing:
            role = "repairing"
            fault = f"being rebuilt from the others: {report.repairing}"
        return GroupReport(
            id=group,
            role=role,
            term=status.term,
            leader=name_of(status.leader),
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            first_index=status.first_index,
            last_index=status.last_index,
            voters=tuple([name_of(n) for n in configuration.voters]),
            learners=tuple([name_of(n) for n in configuration.learners]),
            fault=fault,
            match_indexes={name_of(n): replica.match_index for n, replica in status.progress.items()},
            far=tuple([name_of(n) for n, replica in status.progress.items() if not replica.is_near]),
        )

    async def cluster_report(self, timeout_seconds: float) -> ClusterReport:
        found: dict[NodeId, MemberReport] = {}
        async with trio.open_nursery() as nursery:
            for node, member in self._core.members.by_id.items():
                nursery.start_soon(self._ask_member, node, member, timeout_seconds, found)
        return ClusterReport(
            cluster_name=cluster_name(self.catalog, self._config.cluster.name),
            cluster_id=self._core.charter.cluster_id,
            answered_by=self._config.node.name,
            version=self._version,
            members=tuple([found[node] for node in sorted(found)]),
        )

    async def _ask_member(
        self, node: NodeId, member: Member, timeout_seconds: float, found: dict[NodeId, MemberReport]
    ) -> None:
        name, address = self._core.members.name_of(node), f"{member.host}:{member.port}"
        state = member.state.name.lower()
        if node == self._core.node:
            found[node] = MemberReport(name, address, self.local_report(), "", 0.0, int(node), state)
            return
        try:
            data = await self._core.links.call(node, Kind.REPORT, None, timeout_seconds)
            self._seen[node] = trio.current_time()
            found[node] = MemberReport(name, address, decode_report(data), "", 0.0, int(node), state)
        except (LinkError, ValueError) as error:
            seen = max(
                [at for at in (self._seen.get(node), self._core.last_linked.get(node)) if at is not None], default=None
            )
            ago = None if seen is None else trio.current_time() - seen
            found[node] = MemberReport(name, address, None, str(error), ago, int(node), state)

    async def _give_report(self, peer: NodeId, body: Any) -> Any:
        return encode_report(self.local_report())

    async def queue_counts(
        self, timeout_seconds: float, queues: Sequence[catalog_ids.QueueId] | None = None, *, weighed: bool = True
    ) -> Mapping[int, QueueCounts]:
        return await self._queue_figures.ask(timeout_seconds, queues, weighed=weighed)

    def queue_report(self, queue: QueueDefinition, counts: QueueCounts) -> QueueReport:
        return QueueReport(
            name=queue.name,
            vhost=queue.vhost,
            durable=queue.durable,
            leader=self._leader(queue),
            members=self._replicas(queue),
            online=self._online(queue),
            group=int(queue.shard) if queue.replicated else None,
            messages_ready=counts.ready,
            messages_unacked=counts.unacked,
            consumers=counts.consumers,
            messages_parked=counts.parked,
            enqueued_total=counts.enqueued,
            settled_total=counts.settled,
            delivered_total=counts.delivered,
            messages_leaving=counts.leaving,
        )

    def _leader(self, queue: QueueDefinition) -> str:
        if not queue.replicated:
            return self._core.members.name_of(queue.home)
        stream = self._core.switchboard.streams.get(queue.shard)
        return self._core.members.name_of(stream.leader) if stream is not None else ""

    def _replicas(self, queue: QueueDefinition) -> tuple[str, ...]:
        if not queue.replicated:
            return ()
        members = self._core.members
        return tuple([members.name_of(n) for n in members.placement.get(GroupId(queue.shard), ())])

    def _online(self, queue: QueueDefinition) -> tuple[str, ...]:
        up = self._core.reachable()
        placement = self._core.members.placement.get(GroupId(queue.shard), ()) if queue.replicated else ()
        return tuple([self._core.members.name_of(node) for node in placement if node in up])

    async def connections(self, timeout_seconds: float) -> Sequence[ConnectionReport]:
        return await self._sessions.connections(timeout_seconds)

    async def channels(self, timeout_seconds: float) -> Sequence[ChannelReport]:
        return await self._sessions.channels(timeout_seconds)

    async def consumers(self, timeout_seconds: float) -> Sequence[ConsumerReport]:
        return await self._sessions.consumers(timeout_seconds)

    async def vhost_flows(self, timeout_seconds: float) -> Sequence[VhostFlow]:
        return await self._sessions.vhost_flows(timeout_seconds)

    async def exchange_flows(self, timeout_seconds: float) -> Sequence[ExchangeFlow]:
        return await self._sessions.exchange_flows(timeout_seconds)

    async def queue_flows(
        self, timeout_seconds: float, queues: Sequence[catalog_ids.QueueId] | None = None
    ) -> Sequence[QueueFlow]:
        return await self._sessions.queue_flows(timeout_seconds, queues)

    async def verify(self) -> dict[str, Any]:
        return await self._verification.verify()

    async def transfer(self, group: int, node: str) -> None:
        target = next((n for n in self._core.members.by_id if self._core.members.name_of(n) == node), NOBODY)
        voters = self._core.members.placement.get(GroupId(group))
        if voters is None:
            raise Refused(Refusal.NOT_FOUND, f"there is no group {group}")
        if target not in voters:
            raise Refused(Refusal.CONFLICT, f"{node} holds no replica of group {group}")
        leader = self._core.leader_of(GroupId(group))
        try:
            if leader == self._core.node:
                self._core.runtime.transfer_leadership(GroupId(group), target)
            elif leader != NOBODY:
                await self._core.links.call(leader, Kind.TRANSFER, [group, int(target)], 2.0)
            else:
                raise Refused(Refusal.UNAVAILABLE, f"group {group} has no leader")
        except (NotLeader, ProposalDropped, LinkError) as error:
            raise Refused(Refusal.CONFLICT, str(error)) from error

    async def _give_transfer(self, peer: NodeId, body: Any) -> Any:
        """TRANSFER. Raises RequestError when this node does not lead the group, or cannot hand it over now."""
        group, target = body
        try:
            self._core.runtime.transfer_leadership(GroupId(group), NodeId(target))
        except (NotLeader, ProposalDropped) as error:
            raise RequestError(str(error)) from error

    async def remove(self, node: str) -> None:
        await self._removal.remove(node)

    async def authenticate(self, user: str, password: str, *, peer_host: str) -> frozenset[str] | None:
        self._logins += 1
        if await self._broker.judge_login(peer_host, user, password.encode()) is not Login.ACCEPTED:
            self._logins_refused += 1
            return None
        known = self._core.catalog.catalog.users.get(user)
        return frozenset(known.tags) if known is not None else None
