"""Whether to send a heartbeat, and whether the peer is still there (AMQP 0-9-1 §4.2.7).

Law: time is passed in, in seconds of any monotonic clock, and only by the two questions; traffic just leaves a
mark that the next question dates. So ask about four times an interval: an answer is late by one question at most.
"""

from __future__ import annotations


class Heartbeat:
    """`interval_seconds` is what was negotiated; 0 turns both directions off."""

    __slots__ = ("_heard_at", "_sent_at", "heard", "interval_seconds", "sent")

    def __init__(self) -> None:
        self.interval_seconds = 0
        self.heard = True
        self.sent = True
        self._heard_at = 0.0
        self._sent_at = 0.0

    def due(self, now: float) -> bool:
        """Nothing was sent for half an interval, so a heartbeat frame must be."""
        if self.sent:
            self.sent = False
            self._sent_at = now
        return self.interval_seconds > 0 and now - self._sent_at >= self.interval_seconds / 2

    def peer_silent(self, now: float) -> bool:
        """Nothing was heard for two intervals: the peer counts as gone, and its socket is closed without a word."""
        if self.heard:
            self.heard = False
            self._heard_at = now
        return self.interval_seconds > 0 and now - self._heard_at >= 2 * self.interval_seconds
