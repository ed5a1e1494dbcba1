"""Sparse marks: what is known of the few messages that have more to them than their record.

Law: a mark is a number. Only who asks for it looks at it: a leader, or a queue with such settings.
"""

from __future__ import annotations

from enum import IntEnum

_MEMORY_KEYS_BITS = 20


class Mark(IntEnum):
    """What a sparse mark says of a message."""

    EXPIRATION = 1
    """Milliseconds that it may wait in a queue."""
    PRIORITY = 2
    """Only where it is above 0 and a target queue has priorities."""
    DELAY = 3
    """Milliseconds from its enqueue until it may be delivered."""
    KEY = 4
    """64 bits that stand for its deduplication key."""
    MEMORY = 5
    """What its exchange asks of every queue for the key: see `pack_memory`. Leaders alone look at it."""


def pack_memory(keys_max: int, ttl_ms: int | None) -> int:
    """How many keys are remembered, at most 2**20 - 1, and for how long, at most 2**43 ms; None is for ever."""
    ttl = 0 if ttl_ms is None else min(max(ttl_ms, 1), 2**43)
    return ttl << _MEMORY_KEYS_BITS | min(keys_max, (1 << _MEMORY_KEYS_BITS) - 1)


def unpack_memory(value: int) -> tuple[int, int | None]:
    """`keys_max`, `ttl_ms`."""
    return value & (1 << _MEMORY_KEYS_BITS) - 1, value >> _MEMORY_KEYS_BITS or None
