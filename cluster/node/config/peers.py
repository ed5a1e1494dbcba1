"""The members a cluster starts with, as every node's configuration lists them.

Law: all nodes derive the same order from the same set of names, whatever the order of their lists and whether
or not a list names its own node. The first in that order is the founder: it alone may found the cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NODE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
"""A DNS label's characters plus `_` and `.`, so that a pod's name always fits; at most 63."""

_PEER = re.compile(r"([^=\s]+)=(\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s]+):(\d{1,5})")
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """A member's name and the host and port at which other nodes reach its peer listener."""

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name}={host}:{self.port}"


def parse_peer(text: str) -> PeerSpec:
    """`"mq-0=mq-0.mq.svc:25672"` or `"mq-0=[::1]:25672"`. ValueError, one line, for anything else."""
    match = _PEER.fullmatch(text.strip())
    if match is None or not re.match(NODE_NAME, match[1]):
        raise ValueError(f"expected 'name=host:port', got {text!r}")
    port = int(match[3])
    if not 0 < port < 65536:
        raise ValueError(f"port {port} of {match[1]} is not within 1..65535")
    return PeerSpec(match[1], match[2].strip("[]"), port)


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which `mq-2` comes before `mq-10`; total over distinct names."""
    parts = [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(name)]
    return [*parts, (2, 0, name)]
