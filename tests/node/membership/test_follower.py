"""Whom a node holds links to, as its copy of the catalog says, and where that is older than what the node was told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.commands import PutMember
from cluster.broker.catalog.state import MemberState
from cluster.node.links import PeerAddress
from cluster.node.members import Members
from cluster.node.membership.follower import Follower
from cluster.node.membership.roster import read_roster
from cluster.raft.types import NodeId
from tests.broker.catalog.build import FOUND


class Links:
    """What a node's links are held to."""

    def __init__(self, *nodes: int) -> None:
        self.held = {NodeId(node): PeerAddress(f"node-{node}", NodeId(node), "host", 25672) for node in nodes}

    def peers(self) -> list[PeerAddress]:
        return list(self.held.values())

    def add_peer(self, address: PeerAddress) -> None:
        self.held.setdefault(address.node, address)

    def remove_peer(self, node: NodeId) -> None:
        del self.held[node]


class Stand:
    """A node whose copy of the catalog is moved on by hand."""

    def __init__(self, directory: Path, links: Links) -> None:
        self.links = links
        self.catalog = Catalog()
        self._index = 0
        charter: Any = SimpleNamespace(members=(), placement=dict)
        self.members = Members(charter, self.catalog)
        core: Any = SimpleNamespace(members=self.members, links=links, catalog=SimpleNamespace(catalog=self.catalog))
        config: Any = SimpleNamespace(data_dir=directory, members=())
        self._follower = Follower(core, config)

    async def apply(self, *commands: Any) -> None:
        for command in commands:
            self._index += 1
            self.catalog.apply(self._index, encode_command(command))
        self.members.adopt()
        await self._follower._link()


def gone(node: int) -> PutMember:
    return PutMember(node, f"node-{node}", "host", 25672, int(MemberState.GONE))


def active(node: int, name: str) -> PutMember:
    return PutMember(node, name, "host", 25672, int(MemberState.ACTIVE))


async def test_a_member_that_has_gone_is_linked_to_no_more(tmp_path: Path) -> None:
    links = Links(2, 3)
    stand = Stand(tmp_path, links)
    await stand.apply(FOUND)
    await stand.apply(gone(2))
    assert sorted(links.held) == [1, 3]
    assert sorted(peer.node for peer in read_roster(tmp_path)) == [1, 3]


async def test_a_newcomer_whose_copy_is_older_than_its_admission_keeps_who_let_it_in(tmp_path: Path) -> None:
    """All others were replaced since the catalog's snapshot: what came after it comes from them alone."""
    links = Links(4, 5)
    stand = Stand(tmp_path, links)
    await stand.apply(FOUND)
    assert {4, 5} <= links.held.keys()
    assert {4, 5} <= {peer.node for peer in read_roster(tmp_path)}, "a restart looks there"
    await stand.apply(gone(1), active(4, "node-a"), gone(2), active(5, "node-b"), gone(3), active(6, "node-c"))
    assert sorted(links.held) == [4, 5, 6]
    assert sorted(peer.node for peer in read_roster(tmp_path)) == [4, 5, 6]


async def test_one_that_came_and_went_since_the_copy_was_made_is_linked_to_no_more(tmp_path: Path) -> None:
    links = Links(2, 3, 4)
    stand = Stand(tmp_path, links)
    await stand.apply(FOUND)
    await stand.apply(active(4, "node-d"), gone(4))
    assert sorted(links.held) == [1, 2, 3]
    assert sorted(peer.node for peer in read_roster(tmp_path)) == [1, 2, 3]
