"""Queues that nobody used for long (`x-expires`): the catalog is asked to delete them.

Law: who leads a queue finds out, and goes on saying so until it is gone; so nothing is kept here for a second try.
"""

from __future__ import annotations

import trio

from cluster.broker.catalog.commands import DeleteQueue
from cluster.broker.errors import BrokerError
from cluster.broker.shard.entry import QueueId
from cluster.node.catalog.client import CatalogClient, NoQuorum
from cluster.node.catalog.host import CatalogHost
from cluster.node.logging import get_logger

_LOG = get_logger("node")


class UnusedQueues:
    """Of one node's shards."""

    def __init__(self) -> None:
        self._queues: list[QueueId] = []

    def add(self, queue: QueueId) -> None:
        """It is deleted with the next tick."""
        self._queues.append(queue)

    def tick(self, nursery: trio.Nursery, catalog: CatalogHost, client: CatalogClient) -> None:
        """Begin to delete those that were added."""
        queues, self._queues = self._queues, []
        for queue in queues:
            nursery.start_soon(_delete, queue, catalog, client)


async def _delete(queue: QueueId, catalog: CatalogHost, client: CatalogClient) -> None:
    definition = catalog.catalog.queues.get(queue)
    if definition is not None:
        try:
            await client.submit(DeleteQueue(definition.vhost, definition.name, queue))
        except (BrokerError, NoQuorum) as error:
            _LOG.warning("unused queue not deleted yet", queue=definition.name, reason=str(error))
