"""What holds for one queue, as far as its shard's leader decides by it.

Law: values, made from the catalog's effective settings (arguments and policies, already judged). A queue that nothing
is said about has PLAIN itself, so that `is PLAIN` is all that an ordinary queue costs; one that the leader's copy of
the catalog does not know has UNKNOWN itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Overflow(Enum):
    """What happens to a publish, or to the oldest message, when the queue is full (x-overflow)."""

    DROP_HEAD = "drop-head"
    REJECT = "reject-publish"
    REJECT_DEAD_LETTER = "reject-publish-dlx"


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Times in milliseconds; None is no limit.

    name             the queue's, for the death certificates of its messages
    max_length, max_length_bytes  of ready messages, and where publishes are refused of delayed and parked ones as well
                     (else of parked ones by themselves); bytes are those of bodies
    max_priority     0: the queue has no priorities
    is_quorum        deliveries say how often a message came back
    keys_max, keys_ttl_ms  deduplication keys remembered, and for how long; 0: no deduplication
    """

    name: str = ""
    message_ttl_ms: int | None = None
    expires_ms: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: Overflow = Overflow.DROP_HEAD
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    delivery_limit: int | None = None
    max_priority: int = 0
    single_active_consumer: bool = False
    is_quorum: bool = False
    keys_max: int = 0
    keys_ttl_ms: int | None = None

    @property
    def guarded(self) -> bool:
        """May a publish be kept out?"""
        limited = self.max_length is not None or self.max_length_bytes is not None
        return self.keys_max > 0 or (limited and self.overflow is not Overflow.DROP_HEAD)


PLAIN: Final = QueueSettings()
UNKNOWN: Final = QueueSettings()
"""Told from PLAIN by `is`. By these nothing is handed out or let go; what comes is taken in and keeps its place."""
KEYS_MAX_DEFAULT: Final = 1024
"""x-cache-size of a queue that deduplicates and does not say."""


def queue_settings(
    name: str, effective: Mapping[str, object], arguments: Mapping[str, object], *, is_quorum: bool
) -> QueueSettings:
    """`effective` has the keys of the catalog's `queue_settings`; `arguments` are the queue's own."""
    deduplicates = arguments.get("x-message-deduplication") is True
    if not effective and not is_quorum and not deduplicates:
        return PLAIN
    overflow = effective.get("overflow")
    keys_max = max(1, _number(arguments.get("x-cache-size")) or KEYS_MAX_DEFAULT)
    return QueueSettings(
        name,
        _number(effective.get("message-ttl")),
        _number(effective.get("expires")),
        _number(effective.get("max-length")),
        _number(effective.get("max-length-bytes")),
        Overflow(overflow) if isinstance(overflow, str) else Overflow.DROP_HEAD,
        _text(effective.get("dead-letter-exchange")),
        _text(effective.get("dead-letter-routing-key")),
        _number(effective.get("delivery-limit")),
        _number(effective.get("max-priority")) or 0,
        effective.get("single-active-consumer") is True,
        is_quorum,
        keys_max if deduplicates else 0,
        _number(arguments.get("x-cache-ttl")),
    )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
