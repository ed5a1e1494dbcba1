"""Clients that publish during an alarm.

Law: who has begun to publish is told, once, and is not read until the alarm is over; whoever does not publish is not
hindered. What is half sent then is in memory and nowhere else, and stays there while its client is not read: together
such messages could keep a memory alarm on that nothing else would ever end. So while that lasts one client at a time
is read until a message that it has begun is complete, and is on its way to the log: not more than the rest of one
message comes in for each. Who does not send it in time gives way to the next, who had its turn longest ago; who has
gone is found out so, and what it had sent is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cluster.amqp import methods as m

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

TURN_SECONDS = 5.0
"""For the rest of one message."""
SILENT_SECONDS = 1.0
"""Who says nothing for so long gives way as well."""


class Hold:
    """Of one connection. `is_on`: it has published, or begun to, during an alarm that is not over."""

    __slots__ = ("_connection", "is_on", "may_end", "turn_at")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_on = False
        self.may_end = False
        """Is it read all the same, for a message that it has begun?"""
        self.turn_at = 0.0
        """When that was so last, monotonic seconds."""

    @property
    def is_shut(self) -> bool:
        """Shall the client not be read?"""
        return self.is_on and not self.may_end

    @property
    def is_half_way(self) -> bool:
        """Is it held up in the middle of a message?"""
        return self.is_on and self._connection.machine.is_publishing

    def is_moving(self, now: float) -> bool:
        """Does the message that it may end come on, and is its turn not over?"""
        silent_seconds = now - max(self.turn_at, self._connection.heard_at)
        return self.is_half_way and now - self.turn_at < TURN_SECONDS and silent_seconds < SILENT_SECONDS

    def heard(self) -> None:
        """During an alarm: something that the client has said was taken in."""
        if self._connection.machine.is_publishing:
            self._begin()
        else:
            self.may_end = False

    def published(self) -> None:
        """During an alarm: a message was complete."""
        self.may_end = False
        self._begin()

    def let_end(self, now: float) -> None:
        """Read the client for the rest of a message."""
        self.turn_at = now
        self.may_end = True
        self._connection.unblock()

    def over(self) -> None:
        """The alarm is."""
        self.may_end = False
        if self.is_on:
            self.is_on = False
            self._tell(m.ConnectionUnblocked())
            self._connection.unblock()

    def _begin(self) -> None:
        if not self.is_on:
            self.is_on = True
            self._tell(m.ConnectionBlocked(self._connection.broker.alarm))

    def _tell(self, method: m.ConnectionBlocked | m.ConnectionUnblocked) -> None:
        connection = self._connection
        if "connection.blocked" in connection.machine.client_capabilities:
            connection.machine.send(0, method)
            connection.flush_soon()


class Turn:
    """Whose message may be ended, of all that a memory alarm found half sent. Times are monotonic seconds."""

    __slots__ = ("_whose",)

    def __init__(self) -> None:
        self._whose: Hold | None = None

    def look(self, connections: Iterable[Connection], now: float) -> None:
        """To be called now and then while memory is short."""
        whose = self._whose
        if whose is not None and whose.may_end:
            if whose.is_moving(now):
                return
            whose.may_end = False
        waiting = [connection.hold for connection in connections if connection.hold.is_half_way]
        self._whose = min(waiting, key=lambda hold: hold.turn_at, default=None)
        if self._whose is not None:
            self._whose.let_end(now)
