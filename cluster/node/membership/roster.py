"""The members' addresses as last heard of, in a file: where a node that starts looks for the others.

Law: a hint and nothing more; the catalog is right where they differ. A file that is missing or damaged is an empty one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from cluster.node.config import NodeConfig
from cluster.node.links import PeerAddress
from cluster.raft.types import NodeId

_FILE = "members.json"


def read_roster(directory: Path) -> list[PeerAddress]:
    try:
        rows = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        return [PeerAddress(str(name), NodeId(int(node)), str(host), int(port)) for node, name, host, port in rows]
    except (OSError, ValueError, TypeError):
        return []


def write_roster(directory: Path, members: Iterable[PeerAddress]) -> None:
    """Durable when it returns. Raises OSError."""
    rows = [[int(member.node), member.name, member.host, member.port] for member in members]
    draft = directory / (_FILE + ".new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(rows, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(directory / _FILE)


def addressed(members: Iterable[PeerAddress], config: NodeConfig) -> list[PeerAddress]:
    """The same, each with the address that the configuration gives its name as another one to try."""
    given = {spec.name: (spec.host, spec.port) for spec in config.members}
    found: list[PeerAddress] = []
    for member in members:
        also = given.get(member.name, (member.host, member.port))
        more = (also,) if also != (member.host, member.port) else ()
        found.append(PeerAddress(member.name, member.node, member.host, member.port, more))
    return found
