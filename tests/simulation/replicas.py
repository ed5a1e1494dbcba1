"""What the replicas promise each other, checked as they apply, vote and lead.

Law: it looks on. For one group: one entry and one state at an index, one leader in a term, one vote of a voter in a
term, on its disk before it is given. It remembers over crashes, as nobody in the cluster does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

from cluster.node.core import Core
from cluster.node.shards.host import ShardHost
from cluster.raft.group import Role
from cluster.raft.types import Entry, NodeId, Term

_VOTE_REPLY = 8
"""Its kind on the wire."""
_STATE_EVERY = 4
"""Indexes from one at which the states of replicas are compared to the next: what is different stays so."""


class Replicas:
    def __init__(self, promised: Callable[[int, int], tuple[int, int]], checks: Counter[str]) -> None:
        """`promised`: the term and the vote that a node's disk has of a group."""
        self._promised = promised
        self._checks = checks
        self._entries: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._states: dict[tuple[int, int], tuple[int, int]] = {}
        self._leaders: dict[tuple[int, int], int] = {}
        self._votes: dict[tuple[int, int, int], int] = {}

    def watch(self, node: int, core: Core, alive: Callable[[], bool]) -> None:
        """Look at what a process's replicas do, while it is `alive`."""
        catalog = core.catalog
        self._watch(node, 0, catalog, lambda: (catalog.applied_index, catalog.catalog.snapshot()), alive)
        for shard, seat in core.switchboard.seats.items():
            if isinstance(seat, ShardHost):
                self._watch(node, shard, seat, partial(_state_of, seat), alive)

    def _watch(
        self, node: int, group: int, host: Any, state: Callable[[], tuple[int, bytes]], alive: Callable[[], bool]
    ) -> None:
        apply, role_changed = host.apply, host.role_changed

        def look_at_apply(entries: list[Entry]) -> None:
            if alive():
                self._checks["one entry at an index"] += len(entries)
                for entry in entries:
                    digest = (entry.term, crc32(entry.data), node)
                    known = self._entries.setdefault((group, entry.index), digest)
                    assert known[:2] == digest[:2], (
                        f"group {group}: entry {entry.index} of node {node} is not that of node {known[2]}"
                    )
            apply(entries)
            if alive() and entries and entries[-1].index % _STATE_EVERY == 0:
                index, data = state()
                self._checks["one state at an index"] += 1
                seen = self._states.setdefault((group, index), (crc32(data), node))
                assert seen[0] == crc32(data), (
                    f"group {group}: the state of node {node} at {index} is not that of node {seen[1]}"
                )

        def look_at_role(role: Role, term: Term, leader: NodeId) -> None:
            if alive() and role is Role.LEADER:
                self._checks["one leader in a term"] += 1
                known = self._leaders.setdefault((group, term), node)
                assert known == node, f"group {group}: nodes {known} and {node} both lead in term {term}"
            role_changed(role, term, leader)

        host.apply, host.role_changed = look_at_apply, look_at_role

    def arrived(self, messages: list[list[Any]]) -> None:
        """What one node's consensus says to another's."""
        for message in messages:
            if message[0] == _VOTE_REPLY and message[5]:
                _, group, voter, candidate, term, _ = message
                self._checks["one vote, on the disk"] += 1
                known = self._votes.setdefault((group, term, voter), candidate)
                assert known == candidate, f"group {group}: node {voter} votes twice in term {term}"
                promised = self._promised(voter, group)
                assert promised[0] > term or promised == (term, candidate), (
                    f"group {group}: node {voter} votes in term {term} and its disk does not know"
                )


def _state_of(host: ShardHost) -> tuple[int, bytes]:
    return host.state.applied_index, host.state.snapshot()
