"""The clients of every node: connections, channels, consumers, and what went through them.

Law: each node tells of its own; who is asked puts the answers of all together. A node that does not answer in time is
left out, as its clients cannot be reached anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import trio

from cluster.broker.shard.entry import QueueId
from cluster.node.admin.api.values import to_json
from cluster.node.admin.report import (
    ChannelReport,
    ConnectionReport,
    ConsumerReport,
    ExchangeFlow,
    QueueFlow,
    VhostFlow,
)
from cluster.node.amqp.broker import Broker
from cluster.node.amqp.channel import Channel
from cluster.node.amqp.connection import Connection
from cluster.node.amqp.direct_reply import REPLY_CONSUMERS
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import LinkError, RequestError
from cluster.node.tls.words import NO_TLS, tls_words
from cluster.raft.types import NodeId

R = TypeVar("R", ConnectionReport, ChannelReport, ConsumerReport, VhostFlow, ExchangeFlow, QueueFlow)


class Sessions:
    """Of one node; asks the others."""

    def __init__(self, core: Core, broker: Broker, node_name: str) -> None:
        self._core = core
        self._broker = broker
        self._node_name = node_name
        self._here: Mapping[str, Callable[[str], Sequence[Any]]] = {
            "connections": self._connections_here,
            "channels": self._channels_here,
            "consumers": self._consumers_here,
            "vhost-flows": self._vhost_flows_here,
            "exchange-flows": self._exchange_flows_here,
            "queue-flows": self._queue_flows_here,
            REPLY_CONSUMERS: broker.replies.here,
        }

    def requests(self) -> dict[int, Request]:
        """What other nodes ask."""
        return {Kind.SESSIONS: self._give}

    async def connections(self, timeout_seconds: float) -> list[ConnectionReport]:
        found = await self._everywhere("connections", ConnectionReport, timeout_seconds)
        return sorted(found, key=lambda report: (report.node, report.name))

    async def channels(self, timeout_seconds: float) -> list[ChannelReport]:
        found = await self._everywhere("channels", ChannelReport, timeout_seconds)
        return sorted(found, key=lambda report: (report.node, report.connection, report.number))

    async def consumers(self, timeout_seconds: float) -> list[ConsumerReport]:
        found = await self._everywhere("consumers", ConsumerReport, timeout_seconds)
        return sorted(found, key=lambda report: (report.vhost, report.queue, report.consumer_tag))

    async def vhost_flows(self, timeout_seconds: float) -> list[VhostFlow]:
        """Of each node and vhost one."""
        return await self._everywhere("vhost-flows", VhostFlow, timeout_seconds)

    async def exchange_flows(self, timeout_seconds: float) -> list[ExchangeFlow]:
        """Of each node and exchange one, of those that were published to."""
        return await self._everywhere("exchange-flows", ExchangeFlow, timeout_seconds)

    async def queue_flows(self, timeout_seconds: float, queues: Sequence[int] | None) -> list[QueueFlow]:
        """Of each node and queue one, of those of `queues`, or of all, that something was taken from."""
        wanted = "" if queues is None else " " + ",".join(map(str, queues))
        return await self._everywhere(f"queue-flows{wanted}", QueueFlow, timeout_seconds)

    async def _everywhere(self, what: str, kind: type[R], timeout_seconds: float) -> list[R]:
        found: list[R] = list(self._asked(what))

        async def ask(peer: NodeId) -> None:
            try:
                data = await self._core.links.call(peer, Kind.SESSIONS, what, timeout_seconds)
                found.extend(msgspec.msgpack.decode(data, type=list[kind]))  # type: ignore[valid-type]
            except (LinkError, msgspec.DecodeError):
                return

        async with trio.open_nursery() as nursery:
            for peer in self._core.links.up_peers():
                nursery.start_soon(ask, peer)
        return found

    async def _give(self, peer: NodeId, body: Any) -> Any:
        return msgspec.msgpack.encode(self._asked(body))

    def _asked(self, body: Any) -> Sequence[Any]:
        """Raises RequestError for what a newer node may know."""
        what, _, of = str(body).partition(" ")
        reports = self._here.get(what)
        if reports is None:
            raise RequestError(f"no such sessions: {body!r}")
        return reports(of)

    def _connections_here(self, _: str) -> list[ConnectionReport]:
        wall = time.time() - trio.current_time()
        reports = []
        for connection in self._broker.connections.values():
            machine = connection.machine
            client, _, ours = connection.name.partition(" -> ")
            peer_host, _, peer_port = client.rpartition(":")
            host, _, port = ours.rpartition(":")
            properties = machine.client_properties
            product = " ".join([str(properties[key]) for key in ("product", "version") if key in properties])
            tls = tls_words(connection.tls) if connection.tls is not None else NO_TLS
            reports.append(
                ConnectionReport(
                    name=connection.name,
                    node=self._node_name,
                    user=connection.user,
                    vhost=connection.vhost,
                    state="blocked" if connection.hold.is_on else "running",
                    channels=len(connection.channels),
                    connected_at=wall + connection.connected_at,
                    client=product,
                    peer_host=peer_host,
                    peer_port=int(peer_port or 0),
                    host=host,
                    port=int(port or 0),
                    channel_max=machine.channel_max,
                    frame_max=machine.frame_max,
                    heartbeat_seconds=machine.heartbeat,
                    client_properties=to_json(properties),
                    ssl_protocol=tls.protocol,
                    id=connection.id,
                    auth_mechanism=connection.mechanism,
                    recv_oct=connection.received_bytes,
                    recv_cnt=connection.received_count,
                    send_oct=connection.outgoing.sent_bytes,
                    send_cnt=connection.outgoing.sent_count,
                    send_pend=connection.outgoing.unwritten_bytes,
                    ssl_cipher=tls.cipher,
                    ssl_key_exchange=tls.key_exchange,
                    ssl_hash=tls.hash,
                    peer_cert_subject=tls.peer_subject,
                    peer_cert_issuer=tls.peer_issuer,
                    peer_cert_validity=tls.peer_validity,
                )
            )
        return reports

    def _channels_here(self, _: str) -> list[ChannelReport]:
        now = trio.current_time()
        wall = time.time() - now
        return [
            _channel(self._node_name, connection, channel, now, wall)
            for connection in self._broker.connections.values()
            for channel in connection.channels.values()
        ]

    def _consumers_here(self, _: str) -> list[ConsumerReport]:
        return [
            ConsumerReport(
                queue=consumer.queue_name,
                vhost=connection.vhost,
                consumer_tag=consumer.tag,
                connection=connection.name,
                channel=channel.number,
                node=self._node_name,
                user=connection.user,
                ack_required=not consumer.no_ack,
                exclusive=consumer.exclusive,
                prefetch_count=consumer.window or 0,
                arguments=to_json(consumer.arguments),
                node_id=self._broker.node,
                number=consumer.consumer,
            )
            for connection in self._broker.connections.values()
            for channel in connection.channels.values()
            for consumer in channel.consumers.values()
        ]

    def _vhost_flows_here(self, _: str) -> list[VhostFlow]:
        totals = self._broker.flows.by_vhost(self._broker.connections.values())
        return [
            VhostFlow(vhost, tuple(total.flow.row()), total.received_bytes, total.sent_bytes)
            for vhost, total in totals.items()
        ]

    def _exchange_flows_here(self, _: str) -> list[ExchangeFlow]:
        return [
            ExchangeFlow(vhost, name, came, went)
            for (vhost, name), (came, went) in self._broker.flows.by_exchange().items()
        ]

    def _queue_flows_here(self, of: str) -> list[QueueFlow]:
        flows = self._broker.flows.queues
        wanted = [QueueId(int(word)) for word in of.split(",") if word.isdecimal()] if of else list(flows)
        return [QueueFlow(queue, tuple(flows[queue].row())) for queue in wanted if queue in flows]


def _channel(node: str, connection: Connection, channel: Channel, now: float, wall: float) -> ChannelReport:
    idle_since = channel.idle_since(now)
    transaction = channel.transaction
    return ChannelReport(
        connection=connection.name,
        number=channel.number,
        node=node,
        user=connection.user,
        vhost=connection.vhost,
        state="running",
        confirm=channel.confirms is not None,
        consumers=len(channel.consumers),
        messages_unacked=channel.unacked.count,
        prefetch_count=channel.prefetch_count,
        global_prefetch_count=channel.global_prefetch_count,
        transactional=transaction is not None,
        messages_unconfirmed=channel.confirms.open_count if channel.confirms is not None else 0,
        messages_uncommitted=transaction.publish_count if transaction is not None else 0,
        acks_uncommitted=transaction.answer_count if transaction is not None else 0,
        messages_pending=channel.uncommitted,
        idle_since=0.0 if idle_since is None else wall + idle_since,
        flow=tuple(channel.flow.row()),
    )
