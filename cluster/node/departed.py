"""What becomes of the things of a node that has been unreachable for a while.

Law: what only that node's memory held is given up: its transient queues leave the catalog, and auto-delete queues
whose last consumer it brought go. A node that is back in time has lost nothing; one that is back later finds its
queues deleted and goes on. The catalog's leader alone deletes transient queues, so a minority gives nothing up.
"""

from __future__ import annotations

import trio

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import NodeId
from cluster.broker.shard.entry import QueueId
from cluster.node.amqp.broker import Broker
from cluster.node.catalog.client import NoQuorum
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.core import Core
from cluster.node.logging import get_logger

GIVE_UP_AFTER_SECONDS = 10.0
"""Longer than an election and a stalled disk take."""
_LOOK_SECONDS = 0.5
_DELETIONS_AT_A_TIME = 64


async def watch_departed(core: Core, broker: Broker) -> None:
    """Until cancelled."""
    missing_since: dict[NodeId, float] = {}
    while True:
        await trio.sleep(_LOOK_SECONDS)
        now = trio.current_time()
        reachable = core.reachable()
        for node in list(core.catalog.catalog.members):
            if node in reachable:
                missing_since.pop(node, None)
            elif now - missing_since.setdefault(node, now) >= GIVE_UP_AFTER_SECONDS:
                await _give_up(core, broker, node)


async def _give_up(core: Core, broker: Broker, node: NodeId) -> None:
    for seat in list(core.switchboard.seats.values()):
        if seat.leader is not None:
            for queue_id in seat.leader.take_widowed(node):
                broker.consumer_left(QueueId(queue_id))
    queues = core.catalog.catalog.queues_at(node)
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
