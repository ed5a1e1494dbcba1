"""Who a client is, and which vhost it may enter.

Law: a password is compared in a worker thread, once; what was right is remembered for a while under a key that only
this process knows, so that reconnecting clients cost nothing. A wrong password is never remembered.
"""

from __future__ import annotations

import hmac
import os
from enum import Enum
from hashlib import sha256
from ipaddress import ip_address

import trio

from cluster.node.amqp.password_hash import verify

REMEMBERED_MAX = 1024
"""Right passwords remembered; when full all are forgotten."""


class Login(Enum):
    ACCEPTED = 1
    REFUSED = 2
    NOT_LOOPBACK = 3


def is_loopback(host: str) -> bool:
    """Is the address this machine's own? Anything that is no address is not."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


class Passwords:
    """Compares passwords."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._remembered: dict[bytes, None] = {}
        self._threads = trio.CapacityLimiter(2)

    async def right(self, password: bytes, password_hash: str) -> bool:
        if not password_hash:
            return False
        mark = hmac.digest(self._key, password_hash.encode() + b"\0" + password, sha256)
        if mark in self._remembered:
            return True
        if not await trio.to_thread.run_sync(verify, password_hash, password, limiter=self._threads):
            return False
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[mark] = None
        return True
