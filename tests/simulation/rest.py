"""Whether a simulated cluster is at rest, and what is left where it is not.

Law: at rest nothing is under way, nothing is left in a queue that lasts, all replicas are the same, and everything that
is stored can be read. To ask changes nothing, but that a node is told of damage which it does not know of yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

from cluster.broker.shard.entry import HIDDEN_QUEUES
from cluster.broker.shard.leader import ShardLeader
from cluster.node.shards.host import ShardHost
from cluster.raft.storage import Health, StorageCorrupt
from tests.simulation.disk import Disk
from tests.simulation.process import Process


class Rest:
    """`lasting`: names of the queues that everybody must have emptied; all others may go with what is in them."""

    def __init__(
        self,
        processes: Mapping[int, Process],
        disks: Mapping[int, Disk],
        node_count: int,
        lasting: tuple[str, ...],
        checks: Counter[str],
    ) -> None:
        self._processes = processes
        self._disks = disks
        self._node_count = node_count
        self._lasting = lasting
        self._checks = checks

    def is_reached(self) -> bool:
        """Also counts the damage that was made good since it was asked last."""
        if len(self._processes) < self._node_count or not all(process.serving for process in self._processes.values()):
            return False
        snapshots: dict[int, set[bytes]] = {}
        for process, host in self._hosts():
            assert process.core is not None
            definitions = process.core.catalog.catalog.queues
            for queue_id, state in host.state.queues.items():
                known = definitions.get(queue_id)
                if known is None and queue_id < HIDDEN_QUEUES:
                    return False
                if state.alive and (known is None or known.name in self._lasting):
                    return False
            if host.state.transactions:
                return False
            snapshots.setdefault(host.shard, set()).add(host.state.snapshot())
            if any(not stream.quiet for stream in process.core.switchboard.streams.values()):
                return False
        catalogs = {p.core.catalog.catalog.state_hash() for p in self._processes.values() if p.core is not None}
        are_equal = len(catalogs) == 1 and all(len(copies) == 1 for copies in snapshots.values())
        return are_equal and all(self._is_sound(process) for process in self._processes.values())

    def account(self) -> str:
        """What is left, for who has to find out why."""
        lines: list[str] = []
        for process, host in self._hosts():
            leader: ShardLeader | None = host.leader
            alive = {queue: state.alive for queue, state in host.state.queues.items()}
            told = ""
            if leader is not None:
                queues = {q: (x.ready.count, x.unacked.count) for q, x in leader.queues.items() if q in alive}
                told = f" leads: attaching={leader.attaching} (ready, unacked)={queues}"
            lines.append(
                f"node {process.node} shard {host.shard} term {host.term} at {host.state.applied_index}"
                f" queues={alive} transactions={host.state.transactions.to_wire()}{told}"
            )
        for process in self._processes.values():
            if process.core is None:
                lines.append(f"node {process.node} has no core")
                continue
            lines.append(f"node {process.node} serving={process.serving} links={process.core.links.up_peers()}")
            for stream in process.core.switchboard.streams.values():
                if not stream.quiet or not stream.leader:
                    lines.append(
                        f"node {process.node} stream {stream.shard}: leader={stream.leader}"
                        f" term={stream.term} quiet={stream.quiet} busy={stream.busy}"
                    )
        return "\n  ".join(["", *lines])

    def _hosts(self) -> list[tuple[Process, ShardHost]]:
        cores = [(process, process.core) for process in self._processes.values() if process.core is not None]
        return [(process, host) for process, core in cores for host in core.switchboard.hosts()]

    def _is_sound(self, process: Process) -> bool:
        """Can everything be read that a node has, or has had to be taken from the others anew? What it does not know
        of yet it is told, as by `cluster.node.scrub`."""
        core, disk = process.core, self._disks[process.node]
        assert core is not None
        for group in sorted(core.runtime.groups):
            stored = disk.store.group(group)
            try:
                stored.check(b"", 1 << 30)
            except StorageCorrupt as error:
                process.within(partial(core.damaged, group, error))
                return False
            if stored.state.health is not Health.SOUND:
                return False
        self._checks["a damaged record, made good"] += disk.damages
        disk.damages = 0
        return True
