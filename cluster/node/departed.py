"""What becomes of the things of a node that has been unreachable for a while.

Law: what only that node's memory held is given up: its transient queues leave the catalog, and auto-delete queues
whose last consumer it brought go. A node that is back in time has lost nothing; one that is back later finds its
queues deleted and goes on. Where its machine says that no process listens there, its memory is gone for sure: its
transient queues go sooner, and until then nothing is sent to them. Who begins to lead a shard does not know the
consumers that went with the leader before; the catalog says which queues have had any. The catalog's leader alone
deletes transient queues, so a minority gives nothing up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import NodeId
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.leader import ShardLeader
from cluster.node.amqp.broker import Broker
from cluster.node.catalog.client import NoQuorum
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.core import Core
from cluster.node.logging import get_logger
from cluster.raft import types as raft
from cluster.raft.runtime.beat import next_beat

GIVE_UP_AFTER_SECONDS = 10.0
"""Longer than an election and a stalled disk take."""
ABSENT_AFTER_SECONDS = 1.0
"""The same where its process is known to have ended: a node that only just begins refuses, too."""
REVIEW_AFTER_SECONDS = 20.0
"""How long a shard has been led when its leader looks for queues whose consumers went with the leader before: clients
of a cluster that was off as a whole have come back by then."""
_LOOK_SECONDS = 0.5
_DELETIONS_AT_A_TIME = 64


async def watch_departed(core: Core, broker: Broker) -> None:
    """Until cancelled."""
    missing_since: dict[NodeId, float] = {}
    ended: dict[int, int] = {}
    """Node whose process is known to have ended -> the incarnation of its last life."""
    led_since: dict[int, tuple[int, float]] = {}
    """Shard -> term in which this node leads it, and since when; math.inf once it is reviewed."""
    while True:
        await next_beat(_LOOK_SECONDS)
        now = trio.current_time()
        for shard, seat in list(core.switchboard.seats.items()):
            if seat.leader is None:
                led_since.pop(shard, None)
                continue
            term, since = led_since.setdefault(shard, (seat.term, now))
            if term != seat.term:
                led_since[shard] = (seat.term, now)
            elif now - since >= REVIEW_AFTER_SECONDS:
                led_since[shard] = (term, math.inf)
                _review(broker, shard, seat.leader)
        reachable = core.reachable()
        lost: dict[NodeId, list[QueueDefinition]] = {}
        for node in list(core.catalog.catalog.members):
            if node in reachable:
                missing_since.pop(node, None)
                ended.pop(node, None)
                continue
            missing = now - missing_since.setdefault(node, now)
            queues = core.catalog.catalog.queues_at(node)
            if missing >= GIVE_UP_AFTER_SECONDS:
                _let_widows_go(core, broker, node)
            elif missing < ABSENT_AFTER_SECONDS or not core.links.is_absent(raft.NodeId(node)):
                continue
            else:
                last_life = ended.setdefault(node, max([queue.incarnation for queue in queues], default=0))
                queues = [queue for queue in queues if queue.incarnation <= last_life]
            lost[node] = queues
        broker.set_ended(dict(ended))
        for node, queues in lost.items():
            await _give_up(core, broker, node, queues)


def _review(broker: Broker, shard: int, leader: ShardLeader) -> None:
    """Auto-delete queues that had consumers and have none go: their last ones came over a lost leader's node."""
    for queue_id in list(broker.catalog.used_queues):
        queue = leader.queues.get(QueueId(queue_id))
        if broker.catalog.queues[queue_id].shard == shard and (queue is None or not queue.consumers):
            broker.consumer_left(QueueId(queue_id))


def _let_widows_go(core: Core, broker: Broker, node: NodeId) -> None:
    for seat in list(core.switchboard.seats.values()):
        if seat.leader is not None:
            for queue_id in seat.leader.take_widowed(node):
                broker.consumer_left(QueueId(queue_id))


async def _give_up(core: Core, broker: Broker, node: NodeId, queues: Sequence[QueueDefinition]) -> None:
    if not queues or core.leader_of(CATALOG_GROUP) != core.node:
        return
    log = get_logger("node")
    log.warning("node unreachable: its transient queues go", peer=int(node), queues=len(queues))
    try:
        for start in range(0, len(queues), _DELETIONS_AT_A_TIME):
            async with trio.open_nursery() as nursery:
                for queue in queues[start : start + _DELETIONS_AT_A_TIME]:
                    nursery.start_soon(_delete, broker, queue)
    except* NoQuorum:
        log.warning("transient queues not deleted: no quorum", peer=int(node))


async def _delete(broker: Broker, queue: QueueDefinition) -> None:
    await broker.submit(c.DeleteQueue(queue.vhost, queue.name, queue.id))
