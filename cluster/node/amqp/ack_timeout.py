"""Closes channels whose client keeps a delivery without an answer for too long (RabbitMQ's consumer_timeout).

Law: a queue may say how long (its arguments or policies); for all others the node does. Nothing is noted for a single
delivery. At every look the next delivery tag of each channel that holds something is noted; what is still outstanding
from before a note that is as old as the timeout has been held for too long. So a channel is closed between the timeout
and two looks more after the delivery.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import trio

from cluster.amqp.events import ChannelClosed
from cluster.broker.errors import BrokerError, precondition_failed
from cluster.broker.shard.entry import QueueId

if TYPE_CHECKING:
    from cluster.node.amqp.broker import Broker
    from cluster.node.amqp.channel import Channel

_NOTES = 20
"""Notes within one timeout: so many are kept of a channel."""
_LOOK_SECONDS_MIN, _LOOK_SECONDS_MAX = 0.1, 10.0


def timed_out(channel: int, timeout_seconds: float) -> BrokerError:
    """RabbitMQ's words."""
    return precondition_failed(
        f"delivery acknowledgement on channel {channel} timed out. Timeout value used: {round(timeout_seconds * 1000)}"
        " ms. This timeout value can be configured, see consumers doc guide to learn more"
    )


class AckWatch:
    """What is held of queues with one and the same timeout, over all channels of a node."""

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._notes: WeakKeyDictionary[Channel, deque[tuple[float, int]]] = WeakKeyDictionary()
        """(when, next delivery tag then), oldest first."""

    def overdue(self, channel: Channel, oldest: int, now: float) -> bool:
        """Has `oldest`, the lowest outstanding tag of those queues, been held for too long? Monotonic seconds."""
        notes = self._notes.setdefault(channel, deque())
        while notes and notes[0][1] <= oldest:
            notes.popleft()
        if notes and notes[0][0] <= now - self.timeout_seconds:
            return True
        next_tag = channel.unacked.next_tag
        if not notes or (notes[-1][1] != next_tag and notes[-1][0] <= now - self.timeout_seconds / _NOTES):
            notes.append((now, next_tag))
        return False


class Timeouts:
    """The timeout of each queue, as the catalog says it now."""

    def __init__(self, broker: Broker, default_seconds: float) -> None:
        self._broker = broker
        self._default_seconds = default_seconds
        self._version = -1
        self._of: dict[QueueId, float] = {}

    def of(self, queue: QueueId) -> float:
        """Seconds; 0 is for ever."""
        catalog = self._broker.catalog
        if self._version != catalog.version:
            self._version = catalog.version
            self._of.clear()
        seconds = self._of.get(queue)
        if seconds is None:
            definition = catalog.queues.get(queue)
            said = catalog.queue_settings(definition).get("consumer-timeout") if definition is not None else None
            seconds = self._of[queue] = said / 1000 if isinstance(said, int) else self._default_seconds
        return seconds


async def watch_acks(broker: Broker, default_seconds: float) -> None:
    """Look now and then, for ever. `default_seconds` 0: only where queues say so."""
    watches: dict[float, AckWatch] = {}
    timeouts = Timeouts(broker, default_seconds)
    while True:
        shortest = min([seconds for seconds in watches if seconds], default=default_seconds or _LOOK_SECONDS_MAX)
        await trio.sleep(min(max(shortest / _NOTES, _LOOK_SECONDS_MIN), _LOOK_SECONDS_MAX))
        now = trio.current_time()
        used: dict[float, AckWatch] = {}
        for channel in [channel for c in list(broker.connections.values()) for channel in c.channels.values()]:
            if channel.unacked.oldest is None:
                continue
            held = channel.unacked.oldest_by(lambda holder: timeouts.of(holder.queue))
            for seconds, oldest in held.items():
                watch = used[seconds] = watches.get(seconds) or used.get(seconds) or AckWatch(seconds)
                if seconds and watch.overdue(channel, oldest, now):
                    _close(broker, channel, seconds)
                    break
        watches = used


def _close(broker: Broker, channel: Channel, timeout_seconds: float) -> None:
    broker.log.warning("acknowledgement timed out", connection=channel.connection.id, channel=channel.number)
    error = timed_out(channel.number, timeout_seconds)
    channel.fail(error, ChannelClosed(channel.number, error.code, error.text))
