"""Who asked for the commands of an entry: the request id of an entry of the catalog's log.

Law: first the nodes that wait for the entry, ascending, as a program reads them that knows nothing else; then a
divider, and one mark for each command in their order. A mark names one attempt to have one command applied, of one
life of one node, and never another: whoever made it recognizes the outcome in its own copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from cluster.raft.types import NodeId

_NODE_BYTES = 4
_DIVIDER = b"\xff" * _NODE_BYTES
_MARK = Struct(">IIQ")
MARK_BYTES = _MARK.size


def mark_of(node: NodeId, incarnation: int, number: int) -> bytes:
    """`number` counts attempts in this life of the node."""
    return _MARK.pack(node, incarnation, number)


def pack_marks(askers: Iterable[NodeId], marks: Sequence[bytes]) -> bytes:
    return b"".join([*[node.to_bytes(_NODE_BYTES) for node in sorted(set(askers))], _DIVIDER, *marks])


def unpack_marks(request_id: bytes) -> tuple[set[NodeId], list[bytes]]:
    """(who waits, the mark of each command). None are known of an entry that an older program wrote."""
    askers: set[NodeId] = set()
    at = 0
    while at < len(request_id):
        node = request_id[at : at + _NODE_BYTES]
        at += _NODE_BYTES
        if node == _DIVIDER:
            break
        askers.add(NodeId(int.from_bytes(node)))
    return askers, [request_id[i : i + MARK_BYTES] for i in range(at, len(request_id), MARK_BYTES)]
