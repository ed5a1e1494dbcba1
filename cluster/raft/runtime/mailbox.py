"""The mailboxes of the driver: messages received and not yet stepped, and messages to leave with the round.

Law: the inbox is bounded and drops what does not fit, which Raft tolerates; the outbox lives within one round
and makes one parcel per peer of the messages of all groups.
"""

from __future__ import annotations

from cluster.raft.messages import Append, Message, SnapshotChunkMessage
from cluster.raft.runtime.interface import RuntimeConfig, Transport
from cluster.raft.types import NodeId


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
        size = sum([_data_bytes(message) for message in messages])
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
    """What the groups said in this round, by peer."""

    __slots__ = ("_parcels", "sent")

    def __init__(self) -> None:
        self._parcels: dict[NodeId, list[Message]] = {}
        self.sent = 0

    def put(self, messages: list[Message]) -> None:
        parcels = self._parcels
        for message in messages:
            parcel = parcels.get(message.target)
            if parcel is None:
                parcels[message.target] = [message]
            else:
                parcel.append(message)

    def send(self, transport: Transport) -> None:
        parcels, self._parcels = self._parcels, {}
        for peer, messages in parcels.items():
            self.sent += len(messages)
            transport.send(peer, messages)


def _data_bytes(message: Message) -> int:
    if type(message) is Append:
        return sum([len(entry.data) for entry in message.entries])
    return len(message.data) if type(message) is SnapshotChunkMessage else 0
