"""The catalog's copy on this node, as shards' leaders see it.

Law: nothing of the catalog is kept here; every answer is the copy as it is now. Shards may be led here before the copy
is what it was when this node went down, or while it hears late from its leader: a question is answered once the copy
has everything that was confirmed before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress

import trio

from cluster.amqp.properties import BasicProperties
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.settings import UNKNOWN, QueueSettings, queue_settings
from cluster.broker.shard.surroundings import Target
from cluster.node.catalog.client import NoQuorum

LOCAL_SHARDS = 1 << 16
"""The local shard of node n, with the queues that it keeps in memory, has the number LOCAL_SHARDS + n."""


def shard_of(queue: QueueDefinition) -> int:
    """The shard that holds a queue's messages."""
    return queue.shard if queue.replicated else LOCAL_SHARDS + queue.home


class CatalogView:
    """`Surroundings` of every leader of the node."""

    def __init__(self, catalog: Catalog, knows_dooms: Callable[[], bool]) -> None:
        self.is_current = False
        """Has the copy once caught up with its leader, in this life of the node?"""
        self.has_room = True
        self._asked = self.answered = 0
        """Questions whether it has everything."""
        self._on_ask = trio.Event()
        self._catalog = catalog
        self._knows_dooms = knows_dooms

    @property
    def knows_dooms(self) -> bool:
        return self._knows_dooms()

    def ask(self) -> int:
        self._asked += 1
        self._on_ask.set()
        return self._asked

    async def stay_current(self, catch_up: Callable[[], Awaitable[None]], caught_up: Callable[[], None]) -> None:
        """Answer questions, and first whether the copy is current at all. Until cancelled.

        `catch_up` returns when the copy has what is confirmed, or raises NoQuorum; `caught_up` is called each time.
        """
        while True:
            self._on_ask = trio.Event()
            asked = self._asked
            with suppress(NoQuorum):
                await catch_up()
                self.is_current, self.answered = True, asked
                caught_up()
            if self.answered == self._asked and self.is_current:
                await self._on_ask.wait()

    def settings(self, queue: QueueId) -> QueueSettings:
        definition = self._catalog.queues.get(queue)
        if definition is None:
            return UNKNOWN
        effective = self._catalog.queue_settings(definition)
        is_quorum = definition.type == "quorum"
        return queue_settings(definition.name, effective, definition.arguments.values, is_quorum=is_quorum)

    def dead_letter_targets(
        self, queue: QueueId, exchange: str, routing_keys: Sequence[str], properties: BasicProperties
    ) -> Sequence[Target]:
        definition = self._catalog.queues.get(queue)
        if definition is None:
            return ()
        route = self._catalog.route_dead_letter(
            definition.vhost,
            exchange,
            routing_keys,
            lambda: properties.headers or {},
            lambda name: getattr(properties, name),
        )
        if route is None:
            return ()
        return [Target(shard_of(q), q.id, q.name, "x-max-priority" in q.arguments.values) for q in route.queues]

    def queues_of(self, shard: int) -> Iterator[QueueId]:
        """All queues whose messages the shard holds."""
        return (queue.id for queue in self._catalog.queues.values() if shard_of(queue) == shard)

    def queues_in(self, vhost: str) -> list[QueueDefinition]:
        """All queues of a vhost, if it is still there."""
        place = self._catalog.vhosts.get(vhost)
        return list(place.queues.values()) if place is not None else []
