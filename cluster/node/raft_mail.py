"""Raft's messages on their way over the links.

Law: appends and chunks keep their order in the bulk lane, the rest overtakes them. What had no room is told, so that it
is sent again at once and not after a heartbeat.
"""

from __future__ import annotations

from typing import Any

from cluster.node.kinds import Kind
from cluster.node.links import Links, ProtocolViolation
from cluster.raft.messages import Append, Message, SnapshotChunkMessage, data_bytes
from cluster.raft.runtime import Runtime
from cluster.raft.types import NodeId
from cluster.raft.wire import from_wire, to_wire

_BULK = (Append, SnapshotChunkMessage)
_PARCEL_BYTES = 8 << 20
"""Entries and chunks for one peer that go into one message of a link, and one of them more."""


class RaftMail:
    """`Transport` of consensus."""

    runtime: Runtime
    """Whose messages these are; set once there is one."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def send(self, peer: NodeId, messages: list[Message]) -> None:
        quick: list[Any] = []
        bulk: list[Message] = []
        size = 0
        for message in messages:
            if not isinstance(message, _BULK):
                quick.append(to_wire(message))
                continue
            if size >= _PARCEL_BYTES:
                self._send_bulk(peer, bulk)
                bulk, size = [], 0
            bulk.append(message)
            size += data_bytes(message)
        if quick:
            self._links.send(peer, Kind.RAFT, quick, control=True, droppable=True)
        if bulk:
            self._send_bulk(peer, bulk)

    def _send_bulk(self, peer: NodeId, messages: list[Message]) -> None:
        is_sent = self._links.send(peer, Kind.RAFT, [to_wire(message) for message in messages], droppable=True)
        if not is_sent and self._links.is_full(peer):
            # One without entries brings news only: the next heartbeat does as well.
            lost = [message.group for message in messages if type(message) is Append and message.entries]
            self.runtime.appends_dropped(peer, lost)

    def arrived(self, body: Any) -> None:
        """Raises ProtocolViolation."""
        try:
            messages = [from_wire(wire) for wire in body]
        except (ValueError, TypeError) as error:
            raise ProtocolViolation(f"malformed consensus message: {error}") from error
        self.runtime.receive(messages)
