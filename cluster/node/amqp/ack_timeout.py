"""Closes channels whose client keeps a delivery without an answer for too long (RabbitMQ's consumer_timeout).

Law: nothing is noted for a single delivery. At every look the next delivery tag of each channel that holds something is
noted; what is still outstanding from before a note that is as old as the timeout has been held for too long. So a
channel is closed between the timeout and one look more after the delivery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import trio

from cluster.amqp.events import ChannelClosed
from cluster.broker.errors import BrokerError, precondition_failed

if TYPE_CHECKING:
    from cluster.node.amqp.broker import Broker
    from cluster.node.amqp.channel import Channel

_LOOKS = 20
"""Looks within one timeout: so many notes are kept of a channel."""
_LOOK_SECONDS_MIN, _LOOK_SECONDS_MAX = 0.1, 60.0


def timed_out(channel: int, timeout_seconds: float) -> BrokerError:
    """RabbitMQ's words."""
    return precondition_failed(
        f"delivery acknowledgement on channel {channel} timed out. Timeout value used: {round(timeout_seconds * 1000)}"
        " ms. This timeout value can be configured, see consumers doc guide to learn more"
    )


class AckWatch:
    """All channels of a node."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._notes: WeakKeyDictionary[Channel, deque[tuple[float, int]]] = WeakKeyDictionary()
        """(when, next delivery tag then), oldest first."""

    def overdue(self, channels: Iterable[Channel], now: float) -> list[Channel]:
        """Channels that have held something for too long; `now` in monotonic seconds."""
        found: list[Channel] = []
        for channel in channels:
            oldest = channel.unacked.oldest
            if oldest is None:
                self._notes.pop(channel, None)
                continue
            notes = self._notes.setdefault(channel, deque())
            while notes and notes[0][1] <= oldest:
                notes.popleft()
            if notes and notes[0][0] <= now - self.timeout_seconds:
                found.append(channel)
            if not notes or notes[-1][1] != channel.unacked.next_tag:
                notes.append((now, channel.unacked.next_tag))
        return found


async def watch_acks(broker: Broker, timeout_seconds: float) -> None:
    """Look now and then, for ever. 0 seconds: never."""
    if not timeout_seconds:
        return
    watch = AckWatch(timeout_seconds)
    while True:
        await trio.sleep(min(max(timeout_seconds / _LOOKS, _LOOK_SECONDS_MIN), _LOOK_SECONDS_MAX))
        channels = [channel for c in list(broker.connections.values()) for channel in c.channels.values()]
        for channel in watch.overdue(channels, trio.current_time()):
            broker.log.warning("acknowledgement timed out", connection=channel.connection.id, channel=channel.number)
            error = timed_out(channel.number, timeout_seconds)
            channel.fail(error, ChannelClosed(channel.number, error.code, error.text))
