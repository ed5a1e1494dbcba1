"""Gives away the lead of shards with queues that this node's copy of the catalog has not heard of.

Law: a queue's id says where in the catalog's log it was declared, so who does not know a queue knows what its copy
lacks. A node on which something has waited `PATIENCE_MS` for that says that it is behind, until its copy has it, and
for `QUIET_SECONDS` at least. What waits is handed to nodes that do not say so, and `balance` hands nothing back
meanwhile. So a queue that no copy ever hears of moves its shard once around its nodes.
"""

from __future__ import annotations

import trio

from cluster.broker.catalog.ids import declared_at
from cluster.node.balance import hand_over
from cluster.node.core import Core
from cluster.node.logging import get_logger
from cluster.raft.runtime.beat import next_beat
from cluster.raft.types import GroupId

PATIENCE_MS = 1500
"""More than a copy is late on nodes and links that work, and than it takes a new leader to hear what is held."""
LOOK_SECONDS = 0.5
QUIET_SECONDS = 30.0
"""A node that always hears late gives leads away once in so long, not with each queue that is declared."""


class Lag:
    """Of one node."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._log = get_logger("node")
        self._lacked_index = 0
        """The catalog's log up to here was waited for."""
        self._quiet_at = 0.0
        """Trio's time: so long nothing must have been lacking."""

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await next_beat(LOOK_SECONDS)
            self._look(trio.current_time())

    def _look(self, now: float) -> None:
        core = self._core
        starved = self._starved()
        if starved:
            self._lacked_index = max(self._lacked_index, *starved.values())
            self._quiet_at = now + QUIET_SECONDS
        is_behind = core.catalog.applied_index < self._lacked_index or now < self._quiet_at
        if is_behind is not (core.node in core.behind):
            if is_behind:
                self._log.warning("the catalog's copy is behind: shards wait for it", shards=sorted(starved))
            else:
                self._log.info("the catalog's copy is not behind any more")
            core.behind.announce(is_behind)
        for group in starved:
            self._give_away(group)

    def _starved(self) -> dict[GroupId, int]:
        """Shards that are led here and wait -> the index of the catalog's log that they wait for."""
        starved: dict[GroupId, int] = {}
        for host in self._core.switchboard.hosts():
            queues = host.leader.starved(PATIENCE_MS) if host.leader is not None else []
            if queues:
                starved[host.group] = max(map(declared_at, queues))
        return starved

    def _give_away(self, group: GroupId) -> None:
        """To a voter that is in service, has room and all of the log, and has not found that it is behind."""
        core = self._core
        raft = core.runtime.group(group)
        able = core.aside.peers_without() & core.behind.peers_without()
        heirs = [voter for voter in raft.configuration.voters if voter in able] if raft is not None else []
        if any(hand_over(core, group, heir) for heir in heirs if heir not in core.short_of_disk):
            self._log.info("lead given away: queues are not known here", group=group)
