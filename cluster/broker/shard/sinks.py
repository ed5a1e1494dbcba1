"""Who a home node's stream tells what has come of publishes, settles and consumers.

Law: a sink is called from inside `ShardStream.receive` (or `refuse_unsent`), synchronously; it may call the stream
again, and must not raise for anything that a peer did.
"""

from __future__ import annotations

from typing import Protocol

from cluster.broker.shard.messages import AttachedConsumer
from cluster.broker.shard.tx_ops import Refusal


class PublishSink(Protocol):
    """Who is told that publishes are done."""

    def published(self, first: int, count: int, size: int) -> None:
        """The publishes numbered `first`.. of this sink, `size` bytes together, are committed."""

    def refused(self, first: int, count: int, size: int) -> None:
        """They are not stored, and will not be."""


class SettleSink(Protocol):
    """Who is told that settles are done."""

    def settled(self, count: int) -> None: ...


class PartSink(Protocol):
    """Who is told what has come of a transaction's part."""

    def told(self, refusal: Refusal | None) -> None:
        """What was asked for is committed; or refused, for this reason."""


class ConsumerSink(Protocol):
    """A consumer (or basic.get holder) of this node."""

    @property
    def consumer(self) -> int: ...

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes | memoryview) -> None:
        """A run of messages: seqs `first`.. of the queue, their u32 sizes and records; see `Delivery`."""

    def attached(self) -> AttachedConsumer:
        """For a new leader, without `held`."""

    def cancelled(self) -> None:
        """The queue is gone."""
