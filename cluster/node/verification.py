"""Do all replicas hold the same? Asked by an operator, answered for every group.

Law: replicas are compared at one index of the log: the group's leader puts a mark there, and each takes the digest of
its state as it was when it applied it, bit by bit. Log terms are compared wherever two replicas still have the entry. A
replica that does not answer in time is unknown, and what is unknown does not agree.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import Any

import trio

from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.checkpoints import Checkpoints
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import LinkError, RequestError
from cluster.node.shards.host import ShardHost
from cluster.raft.group import NotLeader, ProposalDropped
from cluster.raft.types import NOBODY, GroupId, LogIndex, NodeId

MARK_SECONDS = 5.0
"""How long the replicas of one group are waited for to come to the mark."""
DIGEST_SECONDS = 60.0
"""How long one of them may take over the digest. A queue with a million priorities or expirations takes 3 s."""
LEADERS_SECONDS = 3.0
"""How long leaders are waited for, over all groups: one may be being elected, or handing over."""
_LOOK_SECONDS = 0.1
_TERMS_MAX = 256
"""Entries before the mark whose terms are compared."""
_MARK_BYTES = 8


@dataclass(frozen=True, slots=True)
class ReplicaVerdict:
    """`digest` of the state at the mark; "" and the reason why there is none."""

    node: str
    digest: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """`verdict` is agree, differ or unknown; `index` is where the mark stood, 0 if it could not be set.

    `entries` entries were compared by their terms; `conflict` is the first where these differ, 0 if none.
    """

    id: int
    verdict: str
    index: int
    entries: int
    conflict: int
    replicas: tuple[ReplicaVerdict, ...]


def judge(group: int, answers: dict[str, tuple[int, str, dict[int, int]]], failures: dict[str, str]) -> GroupVerdict:
    """`answers`: node -> (index of the mark, digest, index -> term); `failures`: node -> why there is none."""
    replicas = [ReplicaVerdict(node, digest) for node, (_, digest, _) in answers.items()]
    replicas += [ReplicaVerdict(node, "", reason) for node, reason in failures.items()]
    terms: dict[int, int] = {}
    compared, conflicts = set(), set()
    for _, _, own in answers.values():
        for index, term in own.items():
            if index in terms:
                compared.add(index)
                if terms[index] != term:
                    conflicts.add(index)
            terms[index] = term
    differ = conflicts or len({(index, digest) for index, digest, _ in answers.values()}) > 1
    return GroupVerdict(
        id=group,
        verdict="differ" if differ else "unknown" if failures or not answers else "agree",
        index=max((index for index, _, _ in answers.values()), default=0),
        entries=len(compared),
        conflict=min(conflicts, default=0),
        replicas=tuple(sorted(replicas, key=lambda replica: replica.node)),
    )


class Verification:
    """Of one node: asks, and answers what others ask."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def requests(self) -> dict[int, Request]:
        return {Kind.MARK: self._give_mark, Kind.CHECKPOINT: self._give_checkpoint}

    async def verify(self) -> dict[str, Any]:
        """`{"verdict": ..., "groups": [...]}`: every group, one after the other."""
        leaders_by = trio.current_time() + LEADERS_SECONDS
        groups = [await self._verify(group, leaders_by) for group in sorted(self._core.members.placement)]
        verdicts = {group.verdict for group in groups}
        worst = next((verdict for verdict in ("differ", "unknown") if verdict in verdicts), "agree")
        return {"verdict": worst, "groups": [asdict(group) for group in groups]}

    async def _verify(self, group: GroupId, leaders_by: float) -> GroupVerdict:
        core = self._core
        mark = secrets.token_bytes(_MARK_BYTES)
        nodes = core.members.placement[group]
        answers: dict[str, tuple[int, str, dict[int, int]]] = {}
        failures: dict[str, str] = {}
        reason = await self._set_mark(group, mark)
        while reason and trio.current_time() < leaders_by:
            await trio.sleep(_LOOK_SECONDS)
            reason = await self._set_mark(group, mark)
        if reason:
            return judge(group, {}, {core.members.name_of(node): reason for node in nodes})

        async def ask(node: NodeId) -> None:
            name = core.members.name_of(node)
            try:
                index, digest, terms = await self._ask(node, Kind.CHECKPOINT, [group, mark])
                answers[name] = (index, digest, dict(terms))
            except (LinkError, RequestError) as error:
                failures[name] = str(error)

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(ask, node)
        return judge(group, answers, failures)

    async def _set_mark(self, group: GroupId, mark: bytes) -> str:
        """By whoever leads the group; why that failed, or ""."""
        reason = "no replica of the group answers"
        for node in self._core.members.placement[group]:
            try:
                await self._ask(node, Kind.MARK, [group, mark])
            except (LinkError, RequestError) as error:
                reason = str(error)
            else:
                return ""
        return f"no mark could be set: {reason}"

    async def _ask(self, node: NodeId, kind: Kind, body: list[Any]) -> Any:
        if node == self._core.node:
            return await self.requests()[kind](node, body)
        return await self._core.links.call(node, kind, body, 2 * MARK_SECONDS + DIGEST_SECONDS)

    async def _give_mark(self, peer: NodeId, body: Any) -> Any:
        """MARK. Raises RequestError when this node does not lead the group."""
        group, mark = body
        try:
            self._core.runtime.propose_mark(GroupId(group), mark)
        except (NotLeader, ProposalDropped) as error:
            raise RequestError(str(error)) from error

    async def _give_checkpoint(self, peer: NodeId, body: Any) -> Any:
        """CHECKPOINT. Raises RequestError when this replica does not come to the mark in time."""
        group, mark = body
        checkpoints = self._checkpoints(GroupId(group))
        raft = self._core.runtime.group(GroupId(group))
        if checkpoints is None or raft is None:
            raise RequestError("it has no replica of the group that takes part")
        try:
            with trio.fail_after(MARK_SECONDS):
                index = LogIndex(await checkpoints.reached(mark))
        except trio.TooSlowError:
            leader = raft.leader
            behind = (
                "it knows no leader" if leader == NOBODY else f"it has applied {raft.status().applied_index} entries"
            )
            raise RequestError(f"not at the mark after {MARK_SECONDS:g} s: {behind}") from None
        terms = raft.terms(index, _TERMS_MAX)
        with trio.move_on_after(DIGEST_SECONDS):
            return [index, await checkpoints.digest(mark), terms]
        raise RequestError(f"no digest after {DIGEST_SECONDS:g} s")

    def _checkpoints(self, group: GroupId) -> Checkpoints | None:
        if group == CATALOG_GROUP:
            return self._core.catalog.checkpoints
        seat = self._core.switchboard.seats.get(group)
        return seat.checkpoints if isinstance(seat, ShardHost) else None
