"""Who a data directory belongs to.

Law: a directory belongs to one member of one cluster for ever. It is opened by nobody else, and every start of
its owner has an incarnation of its own, so that what a node said in an earlier life is never taken for this one's.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from cluster.raft.storage import StorageCorrupt, StorageError
from cluster.raft.types import NodeId

FORMAT_VERSION = 1
"""Version of everything this package writes. A newer one is refused; an older one is migrated when there is one."""
JOURNAL_FORMAT_VERSION = 2
"""Of a directory whose journal may hold something. Closed in order, it is of `FORMAT_VERSION`."""


class IdentityMismatch(StorageError):
    """The directory belongs to another cluster or node, or was written by a newer format."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of a data directory. Made once, by `Identity.first`; each start takes `next_incarnation`."""

    cluster_id: str
    member_id: NodeId
    node_name: str
    members: tuple[tuple[NodeId, str], ...]
    """(member id, node name) of the cluster as it was bootstrapped, or as it was joined; ascending by id."""
    incarnation: int = 1
    """Counts the starts, from 1."""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        assert self.cluster_id, "a cluster has an id"
        assert self.node_name, "a node has a name"
        assert self.incarnation >= 1
        assert list(self.members) == sorted(self.members), "members ascend by id"

    def next_incarnation(self) -> Identity:
        """The same owner, one start later."""
        return replace(self, incarnation=self.incarnation + 1)

    def check(self, *, cluster_id: str | None, node_name: str | None) -> None:
        """Raises IdentityMismatch if the directory belongs to somebody else; None asks nothing."""
        if cluster_id is not None and cluster_id != self.cluster_id:
            raise IdentityMismatch(f"the data belongs to cluster {self.cluster_id!r}, not to {cluster_id!r}")
        if node_name is not None and node_name != self.node_name:
            raise IdentityMismatch(f"the data belongs to node {self.node_name!r}, not to {node_name!r}")


class IdentityStore(Protocol):
    """Where an identity is kept; every store of this package is one."""

    def read_identity(self) -> Identity | None: ...

    def write_identity(self, identity: Identity) -> None: ...


def begin_incarnation(store: IdentityStore, *, cluster_id: str | None, node_name: str | None) -> Identity | None:
    """The owner of a directory, one start later, durably; None if nobody owns it yet.

    Raises IdentityMismatch if it belongs to another cluster or node (None asks nothing) or has a newer format,
    StorageCorrupt, StorageFull, StorageIO.
    """
    found = store.read_identity()
    if found is None:
        return None
    found.check(cluster_id=cluster_id, node_name=node_name)
    begun = found.next_incarnation()
    store.write_identity(begun)
    return begun


def check_format(format_version: int) -> None:
    """Raises IdentityMismatch if the data was written by a format newer than this program's."""
    if format_version > JOURNAL_FORMAT_VERSION:
        raise IdentityMismatch(
            f"the data has format {format_version}, this program reads up to {JOURNAL_FORMAT_VERSION}: run a newer one"
        )


def encode_identity(identity: Identity) -> bytes:
    """CRC-32 as eight hex digits, then JSON: an operator can read it."""
    body = json.dumps(asdict(identity), sort_keys=True).encode()
    return b"%08x" % zlib.crc32(body) + body


def decode_identity(record: bytes) -> Identity:
    """Inverse of `encode_identity`. Raises StorageCorrupt, and IdentityMismatch for a newer format."""
    checksum, body = record[:8], record[8:]
    if checksum != b"%08x" % zlib.crc32(body):
        raise StorageCorrupt("the identity record does not match its checksum")
    fields = json.loads(body)
    check_format(fields["format_version"])
    fields["members"] = tuple((NodeId(member), name) for member, name in fields["members"])
    return Identity(**fields)
