"""Catalogs of three nodes over links whose two ends come up and go down each by itself.

Law: one end may hear late, or not before it is linked anew, that the other has given the link up; a link comes up again
when both know. What one end sends arrives in order, or never. Copies fall behind, nodes crash and are there again at
once, reads take their time. A node that takes its copy for the latest has every change that anybody was told is made.
All of it comes from one seed and happens in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, count
from random import Random
from typing import Any

import trio

from cluster.broker.catalog.commands import DeclareQueue
from cluster.node.catalog.client import CatalogClient, NoQuorum
from cluster.node.kinds import Kind
from cluster.node.links.handshake import VERSION_MAX
from cluster.raft.types import GroupId, LogIndex, NodeId
from tests.node.catalog.world import TERM, Replica
from tests.simulation.agenda import Agenda

NODES = (NodeId(1), NodeId(2), NodeId(3))
LEADER = NODES[0]
_TICK_SECONDS = 0.05
_LOOK_SECONDS = 0.005
_WRITE_SECONDS = 0.002


class Link:
    """One life of a link, as its two ends see it."""

    def __init__(self, pair: tuple[NodeId, NodeId]) -> None:
        self.pair = pair
        self.up = dict.fromkeys(pair, False)
        self.over = dict.fromkeys(pair, False)
        """Which ends have given it up."""
        self.last_at = dict.fromkeys(pair, 0.0)
        """When the latest of what an end has sent arrives."""
        self.early: dict[NodeId, list[Callable[[], None]]] = {node: [] for node in pair}
        """What has come to an end that is not up yet."""

    def other(self, node: NodeId) -> NodeId:
        return self.pair[0] if node == self.pair[1] else self.pair[1]


class Node:
    """One life of a node: its copy and its client, and what these see as links and consensus."""

    def __init__(self, ends: Ends, node: NodeId, incarnation: int) -> None:
        self.node = node
        self.replica = Replica()
        self.aside: set[NodeId] = set()
        self.looked_at = 0
        """How many of the changes that were answered its copy is known to have."""
        self._ends = ends
        self.client = CatalogClient(node, incarnation, self.replica.host, self, self, self.aside)
        self.replica.on_leader_changed = self.client.leader_changed
        if node == LEADER:
            self.replica.lead()
        for data in ends.log[: ends.held[node]]:
            self.replica.append(data)

    def follow(self) -> None:
        """The next entry."""
        held = self._ends.held
        self.replica.append(self._ends.log[held[self.node]])
        held[self.node] += 1

    def has(self, number: int) -> bool:
        return self.replica.host.catalog.queue("/", f"queue-{number}") is not None

    def hear(self, peer: NodeId, kind: int, body: Any) -> None:
        if kind == Kind.CATALOG_APPLIED:
            self.client.peer_applied(peer, body)
        elif kind == Kind.ASIDE:
            self._note(peer, is_aside=body)
        else:
            self.client.message(peer, kind, body)

    def link_up(self, peer: NodeId) -> None:
        self._note(peer, is_aside=False)
        if self.node in self.aside:
            self.send(peer, Kind.ASIDE, True)
        self.client.link_up(peer)

    def leave_or_serve(self) -> None:
        """As `Service` does."""
        is_aside = self.node not in self.aside
        if is_aside:
            self.client.freshness.void()
        self._note(self.node, is_aside=is_aside)
        for peer in self.up_peers():
            self.send(peer, Kind.ASIDE, is_aside)

    def _note(self, node: NodeId, *, is_aside: bool) -> None:
        (self.aside.add if is_aside else self.aside.discard)(node)

    # ---- CatalogLinks, CatalogConsensus

    async def call(self, peer: NodeId, kind: int, body: Any, timeout_seconds: float) -> Any:
        raise AssertionError("nobody here is of a version that calls")

    def send(self, peer: NodeId, kind: int, body: Any) -> bool:
        return self._ends.send(self.node, peer, kind, body)

    def write(self) -> None:
        """What is sent is on its way at once."""

    def up_peers(self) -> list[NodeId]:
        return [peer for peer in NODES if peer != self.node and self._ends.link(self.node, peer).up[self.node]]

    def version_of(self, peer: NodeId) -> int:
        return VERSION_MAX if peer in self.up_peers() else 0

    def leader_of(self, group: GroupId) -> NodeId:
        return LEADER

    def read_index(self, group: GroupId, context: int) -> None:
        self._ends.read(self, context)


class Ends:
    """The nodes, their links and what happens to them."""

    def __init__(self, seed: int, agenda: Agenda) -> None:
        self.log: list[bytes] = []
        """What is committed after the founding of the cluster."""
        self.held = dict.fromkeys(NODES, 0)
        """How much of it each node has."""
        self.answered: list[int] = []
        """Changes that somebody was told are made."""
        self.fresh = 0
        """How often a copy was found fresh."""
        self._agenda = agenda
        self._random = Random(f"ends {seed}")
        self._numbers = count(1)
        self._lives = dict.fromkeys(NODES, 0)
        self._nodes: dict[NodeId, Node] = {}
        self._links: dict[tuple[NodeId, NodeId], Link] = {}
        self._behind_until = dict.fromkeys(NODES, 0.0)
        self._nursery: trio.Nursery

    async def run(self, seconds: float) -> None:
        """Raises AssertionError, in groups."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._agenda.run)
            for pair in combinations(NODES, 2):
                self._connect(pair)
            for node in NODES:
                self._begin(node)
                self._follow(node)
            self._every(_TICK_SECONDS, self._tick)
            self._every(_LOOK_SECONDS, self._look)
            self._every(_WRITE_SECONDS, self._write)
            self._now_and_then(40.0, self._declare)
            self._now_and_then(60.0, self._publish)
            self._now_and_then(2.5, self._break)
            self._now_and_then(3.0, self._fall_behind)
            self._now_and_then(0.3, self._crash)
            self._now_and_then(0.5, lambda node: self._nodes[node].leave_or_serve())
            await trio.sleep(seconds)
            self._nursery.cancel_scope.cancel()

    # ---- for a node

    def link(self, a: NodeId, b: NodeId) -> Link:
        return self._links[min(a, b), max(a, b)]

    def send(self, source: NodeId, target: NodeId, kind: int, body: Any) -> bool:
        link = self.link(source, target)
        if link.up[source]:
            at = trio.current_time() + self._random.choice((0.001, 0.01, 0.03))
            at = link.last_at[source] = max(at, link.last_at[source])
            self._agenda.at(at, partial(self._deliver, link, source, kind, body))
        return link.up[source]

    def read(self, reader: Node, context: int) -> None:
        def asked() -> None:
            self._agenda.after(self._random.choice((0.001, 0.01)), partial(granted, len(self.log)))

        def granted(end: int) -> None:
            if self.held[reader.node] < end:
                self._agenda.after(_WRITE_SECONDS, partial(granted, end))
            else:
                reader.replica.host.read_ready(context)

        self._agenda.after(self._random.choice((0.001, 0.01, 0.03)), asked)

    # ---- what goes on

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        act()
        self._agenda.after(seconds, partial(self._every, seconds, act))

    def _now_and_then(self, rate: float, act: Callable[[NodeId], None]) -> None:
        def due() -> None:
            act(self._random.choice(NODES))
            self._now_and_then(rate, act)

        self._agenda.after(self._random.expovariate(rate), due)

    def _tick(self) -> None:
        for node in self._nodes.values():
            node.client.tick()

    def _look(self) -> None:
        for node in self._nodes.values():
            if node.client.freshness.is_fresh:
                self.fresh += 1
                missed = [number for number in self.answered[node.looked_at :] if not node.has(number)]
                assert not missed, f"node {node.node} is fresh and has not heard of {missed}"
                node.looked_at = len(self.answered)

    def _write(self) -> None:
        """What the leader writes is committed."""
        leader = self._nodes[LEADER]
        data = leader.replica.host.take_proposal(1 << 20)
        if data is not None:
            leader.replica.host.proposed(LogIndex(len(leader.replica.log) + 1), TERM)
            self.log.append(data)
            leader.follow()

    def _follow(self, node: NodeId) -> None:
        if self.held[node] < len(self.log) and trio.current_time() >= self._behind_until[node]:
            self._nodes[node].follow()
        self._agenda.after(self._random.choice((0.001, 0.01)), partial(self._follow, node))

    def _deliver(self, link: Link, source: NodeId, kind: int, body: Any) -> None:
        target = link.other(source)
        if link.up[target]:
            self._nodes[target].hear(source, kind, body)
        elif not link.over[target]:
            link.early[target].append(partial(self._deliver, link, source, kind, body))

    def _connect(self, pair: tuple[NodeId, NodeId]) -> None:
        link = self._links[pair] = Link(pair)
        for node in pair:
            self._agenda.after(self._late(0.0, 0.01, 0.3, 2.0), partial(self._come_up, link, node))

    def _come_up(self, link: Link, node: NodeId) -> None:
        if not link.over[node]:
            link.up[node] = True
            self._nodes[node].link_up(link.other(node))
            for act in link.early[node]:
                act()

    def _go_down(self, link: Link, node: NodeId) -> None:
        was_up, link.up[node] = link.up[node], False
        if was_up:
            self._nodes[node].client.link_down(link.other(node))
        if not link.over[node]:
            link.over[node] = True
            if all(link.over.values()):
                self._agenda.after(self._late(0.001, 0.05), partial(self._connect, link.pair))

    def _late(self, *seconds: float) -> float:
        return self._random.choice(seconds) * self._random.random()

    # ---- what happens

    def _begin(self, node: NodeId) -> None:
        self._lives[node] += 1
        self._nodes[node] = Node(self, node, self._lives[node])

    def _declare(self, node: NodeId) -> None:
        self._nursery.start_soon(self._submit, self._nodes[node], next(self._numbers))

    async def _submit(self, node: Node, number: int) -> None:
        try:
            await node.client.submit(DeclareQueue("/", f"queue-{number}", True, False, False))
        except NoQuorum:
            return
        if self._nodes[node.node] is node:
            self.answered.append(number)
            self._look()

    def _publish(self, node: NodeId) -> None:
        """What has nowhere to go."""
        if not self._nodes[node].client.freshness.is_fresh:
            self._nursery.start_soon(self._freshen, self._nodes[node])

    async def _freshen(self, node: Node) -> None:
        try:
            await node.client.freshen()
        except NoQuorum:
            return

    def _break(self, node: NodeId) -> None:
        """One end gives its link up; the other hears of that, or notices by itself."""
        peer = self._random.choice([peer for peer in NODES if peer != node])
        link = self.link(node, peer)
        self._go_down(link, node)
        self._agenda.after(self._late(0.01, 0.3, 3.0), partial(self._go_down, link, peer))

    def _fall_behind(self, node: NodeId) -> None:
        if node != LEADER:
            self._behind_until[node] = trio.current_time() + self._late(0.1, 0.5, 2.0)

    def _crash(self, node: NodeId) -> None:
        """Not the leader: there is nobody to take its place."""
        if node == LEADER:
            return
        links = [link for link in self._links.values() if node in link.pair]
        for link in links:
            link.up[node] = False
        self._begin(node)
        for link in links:
            self._go_down(link, node)
            self._agenda.after(self._late(0.01, 0.3, 3.0), partial(self._go_down, link, link.other(node)))
