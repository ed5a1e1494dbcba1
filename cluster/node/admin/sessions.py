"""The clients of every node: connections, channels, consumers.

Law: each node tells of its own; who is asked puts the answers of all together. A node that does not answer in time is
left out, as its clients cannot be reached anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import trio

from cluster.node.admin.api.values import to_json
from cluster.node.admin.report import ChannelReport, ConnectionReport, ConsumerReport
from cluster.node.amqp.broker import Broker
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import LinkError, RequestError
from cluster.raft.types import NodeId

R = TypeVar("R", ConnectionReport, ChannelReport, ConsumerReport)


class Sessions:
    """Of one node; asks the others."""

    def __init__(self, core: Core, broker: Broker, node_name: str) -> None:
        self._core = core
        self._broker = broker
        self._node_name = node_name
        self._here: Mapping[str, Callable[[], Sequence[Any]]] = {
            "connections": self._connections_here,
            "channels": self._channels_here,
            "consumers": self._consumers_here,
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

    async def _everywhere(self, what: str, kind: type[R], timeout_seconds: float) -> list[R]:
        found: list[R] = list(self._here[what]())

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
        reports = self._here.get(body)
        if reports is None:
            raise RequestError(f"no such sessions: {body!r}")
        return msgspec.msgpack.encode(reports())

    def _connections_here(self) -> list[ConnectionReport]:
        wall = time.time() - trio.current_time()
        reports = []
        for connection in self._broker.connections.values():
            machine = connection.machine
            client, _, ours = connection.name.partition(" -> ")
            peer_host, _, peer_port = client.rpartition(":")
            host, _, port = ours.rpartition(":")
            properties = machine.client_properties
            product = " ".join([str(properties[key]) for key in ("product", "version") if key in properties])
            reports.append(
                ConnectionReport(
                    name=connection.name,
                    node=self._node_name,
                    user=connection.user,
                    vhost=connection.vhost,
                    state="blocked" if connection.held_up else "running",
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
                    ssl_protocol=connection.tls_version,
                )
            )
        return reports

    def _channels_here(self) -> list[ChannelReport]:
        return [
            ChannelReport(
                connection=connection.name,
                number=channel.number,
                node=self._node_name,
                user=connection.user,
                vhost=connection.vhost,
                state="running",
                confirm=channel.confirms is not None,
                consumers=len(channel.consumers),
                messages_unacked=channel.unacked.count,
                prefetch_count=channel.prefetch_count,
                global_prefetch_count=channel.global_prefetch_count,
            )
            for connection in self._broker.connections.values()
            for channel in connection.channels.values()
        ]

    def _consumers_here(self) -> list[ConsumerReport]:
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
            )
            for connection in self._broker.connections.values()
            for channel in connection.channels.values()
            for consumer in channel.consumers.values()
        ]
