"""What a publish's header has to tell its queues' leaders: expiration, priority, delay, deduplication key.

Law: a message without any of them costs nothing here. Priorities, delays and keys count only where the route has a
queue or an exchange that knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from cluster.amqp.pieces import Octets
from cluster.amqp.properties import peek
from cluster.broker.shard.mark import Mark, pack_memory, unpack_memory
from cluster.node.amqp.publish import Route

_EXPIRATION_OR_HEADERS = 0x21
_PRIORITY = 0x08
"""Bits of a header's first flag octet."""
DELAY_MAX_MS = 2**32 - 1
DELAY_HEADER = "x-delay"
KEY_HEADER = "x-deduplication-header"
TTL_HEADER = "x-cache-ttl"


def header_of(parts: Sequence[Octets], message: int) -> bytes:
    """The header of one of the messages in `parts`, see `marks_of`."""
    header = parts[3 * message + 1]
    assert type(header) is bytes
    return header


def marks_of(route: Route, parts: Sequence[Octets]) -> list[tuple[int, int, int]]:
    """(which message, Mark, value) of publishes in `parts` (prefix, header, body, prefix, ...).

    Only the first of them has a header with a say (see `Channel._publish`), except for priorities.
    """
    marks: list[tuple[int, int, int]] = []
    first = header_of(parts, 0)
    if first[12] & _EXPIRATION_OR_HEADERS:
        seen = peek(first)
        if seen.expiration is not None:
            marks.append((0, Mark.EXPIRATION, int(seen.expiration)))
        if seen.raw_headers and (route.delays or route.keyed):
            headers = seen.headers()
            delay = headers.get(DELAY_HEADER)
            if route.delays and isinstance(delay, int) and delay > 0:
                marks.append((0, Mark.DELAY, min(int(delay), DELAY_MAX_MS)))
            key = headers.get(KEY_HEADER)
            if route.keyed and key is not None:
                of_exchange = "" if route.memory is None else f"{route.exchange}\0"
                digest = blake2b(f"{of_exchange}{type(key).__name__}:{key!r}".encode(), digest_size=8).digest()
                marks.append((0, Mark.KEY, int.from_bytes(digest, "big")))
                if route.memory is not None:
                    marks.append((0, Mark.MEMORY, _memory(route.memory, headers.get(TTL_HEADER))))
    if route.prioritized:
        for message in range(len(parts) // 3):
            header = header_of(parts, message)
            if header[12] & _PRIORITY and (priority := peek(header).priority):
                marks.append((message, Mark.PRIORITY, priority))
    return marks


def _memory(asked: int, ttl: object) -> int:
    """The exchange's, unless the message says for how long."""
    keys_max, ttl_ms = unpack_memory(asked)
    return pack_memory(keys_max, int(ttl) if isinstance(ttl, int) and ttl > 0 else ttl_ms)
