"""What both sides of a channel share: its place, its state, and what is on its way.

Law: `uncommitted` counts the messages whose publish, settle or return is not yet committed. Automatic acks of
deliveries, which never end by themselves, are not among them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import trio

from cluster.broker.shard.stream import ShardStream
from cluster.node.amqp.flow import Flow
from cluster.node.amqp.transaction import Transaction
from cluster.node.catalog.client import NoQuorum

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

LEADER_TIMEOUT_SECONDS = 5.0
"""How long a method waits for its queue's leader."""
COMMIT_PATIENCE_SECONDS = 30.0
"""How long a method waits for what the channel did before while nothing of it is committed: longer, as most methods
need no leader themselves, and a connection is not to end because a queue elects on slow disks."""


class State(Enum):
    OPEN = 1
    CLOSED = 2


class Side:
    """One open channel of a connection, as far as publishing and consuming both need it."""

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self.connection = connection
        self.state = State.OPEN
        self.flow = Flow()
        self.transaction: Transaction | None = None
        """After tx.select."""
        self.uncommitted = 0
        self._all_committed: trio.Event | None = None

    async def committed(self) -> None:
        """Until everything that was published, settled or given back is committed. Raises NoQuorum."""
        if self.uncommitted:
            self.connection.broker.switchboard.hasten_settles()
        while before := self.uncommitted:
            self._all_committed = trio.Event()
            with trio.move_on_after(COMMIT_PATIENCE_SECONDS):
                await self._all_committed.wait()
            if self.uncommitted >= before:
                raise NoQuorum("a queue that the channel has used has no leader with a quorum")

    def done(self, count: int) -> None:
        self.uncommitted -= count
        if not self.uncommitted and self._all_committed is not None:
            self._all_committed.set()
            self._all_committed = None

    def stirred(self, stream: ShardStream) -> None:
        self.connection.broker.switchboard.stirred(stream)
