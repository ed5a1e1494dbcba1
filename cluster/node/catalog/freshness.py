"""Whether this node's copy of the catalog may be taken for the latest without asking.

Law: it may for `FRESH_SECONDS` from an ask that the catalog's leader and all other members have answered; each member
says that it waits for this copy, and what its own has applied, which this one must have as well. Every change that is
answered anywhere before that time is over, this copy has: what a member answered before it said so, its own copy had
applied; with what it answers later it waits for this copy. It goes on alone in two cases only: when it applied the
change `VISIBLE_TIMEOUT_SECONDS` ago, which is longer; and when its link to this node, which was up when it said so, has
been down for `PARTED_SECONDS`, which is longer, too. (A later life begins as if all its links had just gone down.) Who
becomes a member is told so after a member has waited like this, and this copy, which knows of it then, is not fresh
before that one is linked and has answered.

A node that leaves service is not fresh, and does not ask: nobody waits for it once its link is down. A member that
speaks too old a link version is not asked: it does not wait for one whose link it takes for broken, and what the leader
says, and that no link has come or gone here since, has to do.
"""

from __future__ import annotations

import math
from collections.abc import Container
from itertools import count
from typing import Any, Protocol

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.state import MemberState
from cluster.node.catalog.awaited import FRESH_SECONDS
from cluster.node.catalog.host import CatalogHost
from cluster.node.kinds import Kind
from cluster.node.links.handshake import VERSION_OF_FRESHNESS
from cluster.node.links.interface import ProtocolViolation
from cluster.raft.types import NodeId


class FreshnessLinks(Protocol):
    def send(self, peer: NodeId, kind: int, body: Any) -> bool: ...

    def up_peers(self) -> Any: ...

    def version_of(self, peer: NodeId) -> int: ...


class Freshness:
    """Of one node's copy. One ask is under way at a time."""

    __slots__ = (
        "_aside",
        "_asked_at",
        "_granted_at",
        "_host",
        "_index",
        "_links",
        "_node",
        "_number",
        "_numbers",
        "_silent",
        "_void_before",
    )

    def __init__(self, node: NodeId, host: CatalogHost, links: FreshnessLinks, aside: Container[NodeId]) -> None:
        """`aside`: who has left service."""
        self._node = node
        self._host = host
        self._links = links
        self._aside = aside
        self._numbers = count(1)
        self._number = 0
        """Of the last ask of the other members."""
        self._asked_at = -math.inf
        """When that was, monotonic seconds; -inf once it counts for nothing."""
        self._silent: set[NodeId] = set()
        """Who has not answered it yet."""
        self._index = 0
        """What those who have answered it had applied."""
        self._granted_at = -math.inf
        """When was the leader asked that answered last, with the copy having everything?"""
        self._void_before = -math.inf
        """What was asked up to then counts for nothing."""

    @property
    def is_fresh(self) -> bool:
        """Has the copy everything that others were told is visible? False: perhaps."""
        at = min(self._asked_at, self._granted_at)
        return (
            at > self._void_before
            and trio.current_time() - at < FRESH_SECONDS
            and not self._silent
            and self._host.applied_index >= self._index
            and self._is_linked_to_all()
        )

    def ask(self) -> None:
        """Have the other members say that they wait for this copy, unless they were asked just now, or one is away."""
        now, applied = trio.current_time(), self._host.applied_index
        if now - self._asked_at < FRESH_SECONDS or not applied or self._node in self._aside:
            return
        if self._is_linked_to_all():
            peers = self._askable()
            self._number, self._asked_at, self._silent, self._index = next(self._numbers), now, set(peers), 0
            for peer in peers:
                self._links.send(peer, Kind.CATALOG_AWAIT, [self._number, applied])

    def answered(self, peer: NodeId, body: Any) -> None:
        """CATALOG_AWAITED. Raises ProtocolViolation."""
        match body:
            case [int(number), int(index)]:
                if number == self._number and peer in self._silent:
                    self._silent.discard(peer)
                    self._index = max(self._index, index)
            case _:
                raise ProtocolViolation("malformed answer of who waits for this copy of the catalog")

    def granted(self, asked_at: float) -> None:
        """The leader was asked then, and the copy has everything from before that."""
        self._granted_at = max(self._granted_at, asked_at)

    def void(self) -> None:
        """What was asked counts no more: a link came up or went down, or this node leaves service."""
        self._void_before = trio.current_time()
        self._asked_at = -math.inf

    def _askable(self) -> list[NodeId]:
        links = self._links
        return [peer for peer in links.up_peers() if links.version_of(peer) >= VERSION_OF_FRESHNESS]

    def _is_linked_to_all(self) -> bool:
        """To everybody who may change the catalog."""
        return set(other_members(self._host.catalog, self._node)) <= set(self._links.up_peers())


def other_members(catalog: Catalog, node: NodeId) -> list[NodeId]:
    """Those that belong to the cluster besides `node`."""
    belonging = [NodeId(one) for one, member in catalog.members.items() if member.state is not MemberState.GONE]
    return [one for one in belonging if one != node]
