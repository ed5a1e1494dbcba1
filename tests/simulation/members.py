"""A world whose members come and go: volumes are lost, nodes leave, and whoever comes in their place is another member.

Law: as ADR 11 has it, with the real porter, steward and removal; only the way to the door is simulated. One member at a
time is lost or leaves, and the next when every group has arrived where it should be: what is lost twice is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import trio

from cluster.broker.catalog.state import MemberState
from cluster.node.admin.source import Refused
from cluster.node.bootstrap import Charter
from cluster.node.core import Core
from cluster.node.membership.porter import Porter
from cluster.node.membership.removal import Removal
from cluster.node.membership.steward import steward
from cluster.raft.group import Role
from cluster.raft.ready import GroupStatus
from cluster.raft.types import GroupId, NodeId
from tests.simulation.agenda import Agenda
from tests.simulation.casts import Cast
from tests.simulation.disk import Disk
from tests.simulation.moving import MovingWorld
from tests.simulation.process import Process

_CHANGES_A_SECOND = 0.3
_PETITION_SECONDS = 9.0
_LOOK_SECONDS = 0.1
_LAG_MAX = 10
"""Entries that a replica may lack for others to be lost or to leave: it is given them faster than they come."""


class MembersWorld(MovingWorld):
    """`replaced` counts the members that were lost or left."""

    moves_a_second = 0.02
    progress_seconds = 40.0
    """A publisher may have to wait until its place has a tenant again."""

    def __init__(
        self,
        seed: int,
        say: Callable[[str], object],
        agenda: Agenda,
        cast: Cast = "common",
        pace: float = 1.0,
        kinds: Sequence[str] = (),
    ) -> None:
        super().__init__(seed, say, agenda, cast, pace, kinds)
        self.rots = False
        self.replaced = 0
        self._changing = False
        self._told: dict[int, None] = {}
        """Nodes that were told to leave."""
        self._later: dict[int, Charter] = {}
        """What the disks of those say who joined later."""
        self._names = {node: self.charter.members[node - 1].name for node in self.nodes}
        self._changes = Random(f"members {seed}")

    def charter_of(self, node: int) -> Charter:
        return self._later.get(node, self.charter)

    def name_of(self, node: int) -> str:
        return self._names[node]

    def watch(self, process: Process, core: Core) -> None:
        super().watch(process, core)
        core.requests.update({**Porter(core).requests(), **Removal(core).requests()})
        process.start_soon(steward, core)

    def _begin(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._come_and_go)

    async def _come_and_go(self) -> None:
        """Once the world drains, only those go who had been told to before."""
        while True:
            await trio.sleep(self._changes.expovariate(_CHANGES_A_SECOND))
            await self._until(lambda: self.draining or self._is_whole() or self._late_leaver() is not None)
            leaver = self._late_leaver()
            if self.draining and leaver is None:
                continue
            self._changing = True
            if leaver is not None:
                place = self.nodes.index(leaver) + 1
                is_gone = await self._is_let_go(leaver)
            else:
                place = self._changes.choice(self.places)
                is_lost = self._changes.random() < 0.5
                if is_lost and Random(f"promises {self.seed} {self.replaced}").random() < 0.5:
                    await self._forgets(place)
                is_gone = is_lost or await self._leaves(place)
            if is_gone:
                await self._replace(place)
                self.replaced += 1
            self._changing = False

    def _late_leaver(self) -> int | None:
        """Who goes although that was refused: the answer to whoever asked was lost."""
        return next((node for node in self.nodes if node in self._told and self._is_going(node)), None)

    def _is_whole(self) -> bool:
        """Is every replica where it should be, with nearly all that is committed, and nobody gone?"""
        processes = [self.processes.get(node) for node in self.nodes]
        if not all(
            process is not None and process.serving and self._has_arrived(process.core) for process in processes
        ):
            return False
        members = [member for core in self._cores() for member in core.runtime.groups.items()]
        leaders = [(group, raft.status()) for group, raft in members if raft.role is Role.LEADER]
        is_led = {group for group, _ in members} == {group for group, _ in leaders}
        return is_led and all(_is_held_by_all(status) for _, status in leaders)

    def _at_rest(self) -> bool:
        return not self._changing and self._late_leaver() is None and super()._at_rest()

    async def _forgets(self, place: int) -> None:
        """The power fails, and takes a term and a vote along. The node must find that out, and never serve again."""
        node = self.nodes[place - 1]
        self.note(f"node {node} does not know any more whom it voted for")
        self.oracle.everything.begin()
        if node in self.processes:
            self.kill(node)
        self.disks[node].lose(GroupId(0))
        self.start(node)
        await self._until(lambda: node not in self.processes)
        self.oracle.everything.end()

    async def _leaves(self, place: int) -> bool:
        """A node is told to leave, and has. False if that was refused."""
        node = self.nodes[place - 1]
        answers: list[bool] = []

        async def ask(core: Core) -> None:
            try:
                await Removal(core).remove(self.name_of(node))
            except Refused as refused:
                self.note(f"node {node} may not leave: {refused}")
                answers.append(False)
            else:
                answers.append(True)

        self.note(f"node {node} is told to leave")
        self._told[node] = None
        process = self._changes.choice([process for process in self.processes.values() if process.serving])
        assert process.core is not None
        process.start_soon(ask, process.core)
        with trio.move_on_after(_PETITION_SECONDS):
            await self._until(lambda: bool(answers))
        if answers == [False]:
            return False
        with trio.move_on_after(_PETITION_SECONDS):
            # Whoever asked may have died, and then nobody knows whether it was heard.
            await self._until(lambda: bool(answers) or self._is_going(node))
        if not self._is_going(node):
            return False
        return await self._is_let_go(node)

    async def _is_let_go(self, node: int) -> bool:
        await self._until(lambda: not self._is_known(node))
        return True

    def _cores(self) -> list[Core]:
        return [process.core for process in self.processes.values() if process.serving and process.core is not None]

    def _is_known(self, node: int) -> bool:
        """Does a majority's copy of the catalog have it as a member?"""
        cores = self._cores()
        return 2 * len([core for core in cores if node not in core.members.by_id]) <= len(self.nodes)

    def _is_going(self, node: int) -> bool:
        states = [
            core.members.by_id[NodeId(node)].state for core in self._cores() if NodeId(node) in core.members.by_id
        ]
        return MemberState.DRAINING in states or not self._is_known(node)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - nothing tells when it is done
            await trio.sleep(_LOOK_SECONDS)

    async def _replace(self, place: int) -> None:
        """The node there is gone with its disk; somebody comes in its place with an empty one."""
        old = self.nodes[place - 1]
        self.note(f"node {old} and its disk are gone")
        self.oracle.everything.begin()
        self.gone[old] = None
        if old in self.processes:
            self.kill(old)
        self.network.leave(old)
        await trio.sleep(self._changes.choice((0.1, 3.0)) * self._changes.random())
        token = f"{self.seed} {place} {self.replaced}"
        answer: dict[str, Any] = {}
        while "node" not in answer:
            await trio.sleep(_LOOK_SECONDS)
            answer = await self._petition(self._names[old], token)
        node = int(answer["node"])
        self.note(f"node {node} comes in the place of {old}")
        self._names[node] = self._names[old]
        self._later[node] = Charter(str(answer["cluster_id"]), (), int(answer["shards"]))
        self.disks[node] = Disk(self.agenda, Random(f"disk {node} {self.seed}"), [])
        self._lives[node] = 0
        self.network.join(node, tuple([other for other in self.nodes if other != old]))
        self.nodes[place - 1] = node
        self.start(node)
        self.oracle.everything.end()

    async def _petition(self, name: str, token: str) -> dict[str, Any]:
        """Ask any member that answers. {} if none does."""
        answers: list[dict[str, Any]] = []
        serving = [process for process in self.processes.values() if process.serving and not process.paused]
        if not serving:
            return {}
        process = self._changes.choice(serving)
        body = {"name": name, "host": f"host-of-{name}", "port": 25672, "token": token}

        async def ask(core: Core) -> None:
            answers.append(await Porter(core).petition(body))

        assert process.core is not None
        process.start_soon(ask, process.core)
        with trio.move_on_after(_PETITION_SECONDS):
            await self._until(lambda: bool(answers))
        return answers[0] if answers else {}


def _is_held_by_all(leader: GroupStatus) -> bool:
    """Has every peer nearly all?"""
    return all(peer.match_index + _LAG_MAX >= leader.commit_index for peer in leader.progress.values())
