"""The mailboxes of the driver: messages received and not yet stepped, and messages to leave with the round.

Law: the inbox is bounded and drops what does not fit, which Raft tolerates; the outbox lives within one round
and makes one parcel per peer of the messages of all groups. Only chunks of snapshots may wait in it for a later one.
"""

from __future__ import annotations

from cluster.raft.messages import Message, SnapshotChunkMessage, data_bytes
from cluster.raft.runtime.interface import RuntimeConfig, Transport
from cluster.raft.types import GroupId, NodeId


class Inbox:
    """Bounded by inbox_messages_max and inbox_bytes_max; when empty it takes one parcel of any size."""

    __slots__ = ("_bytes", "_config", "_messages", "dropped", "received")

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._messages: list[Message] = []
        self._bytes = 0
        self.received = 0
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    def put(self, messages: list[Message]) -> None:
        """All of one parcel, or none of it."""
        config = self._config
        self.received += len(messages)
        size = sum([data_bytes(message) for message in messages])
        if self._messages and (
            len(self._messages) + len(messages) > config.inbox_messages_max
            or self._bytes + size > config.inbox_bytes_max
        ):
            self.dropped += len(messages)
            return
        self._messages += messages
        self._bytes += size

    def take(self) -> list[Message]:
        messages, self._messages = self._messages, []
        self._bytes = 0
        return messages


class Outbox:
    """What the groups said in this round, by peer. Chunks of snapshots wait while more than their share was sent: what
    a replica lacks for long must not cost the others their time."""

    __slots__ = ("_allowance", "_allowance_max", "_parcels", "_waiting", "sent")

    def __init__(self, chunk_bytes_a_tick: int) -> None:
        self._parcels: dict[NodeId, list[Message]] = {}
        self._allowance_max = chunk_bytes_a_tick
        self._allowance = chunk_bytes_a_tick
        """Bytes of chunks that may leave before the next tick; one is always sent whole."""
        self._waiting: dict[tuple[GroupId, NodeId], SnapshotChunkMessage] = {}
        """In the order in which they leave. One for each transfer: a leader sends the next when it is asked."""
        self.sent = 0

    def put(self, messages: list[Message]) -> None:
        parcels = self._parcels
        for message in messages:
            if type(message) is SnapshotChunkMessage and not self._may_leave(message):
                continue
            parcel = parcels.get(message.target)
            if parcel is None:
                parcels[message.target] = [message]
            else:
                parcel.append(message)

    def _may_leave(self, chunk: SnapshotChunkMessage) -> bool:
        if self._allowance <= 0:
            self._waiting[chunk.group, chunk.target] = chunk
            return False
        self._waiting.pop((chunk.group, chunk.target), None)
        self._allowance -= len(chunk.data)
        return True

    def tick(self) -> None:
        """Time for more chunks."""
        self._allowance = min(self._allowance_max, self._allowance + self._allowance_max)
        while self._waiting and self._allowance > 0:
            self.put([next(iter(self._waiting.values()))])

    def send(self, transport: Transport) -> None:
        parcels, self._parcels = self._parcels, {}
        for peer, messages in parcels.items():
            self.sent += len(messages)
            transport.send(peer, messages)
