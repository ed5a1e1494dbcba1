"""What leaders of queues are told of a node's copy of the catalog."""

from __future__ import annotations

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.settings import PLAIN, UNKNOWN
from cluster.node.shards.view import CatalogView
from tests.broker.catalog.build import Founded, queue


def test_a_queue_that_the_copy_does_not_have_is_unknown_and_not_plain() -> None:
    cluster = Founded()
    view = CatalogView(cluster.catalog, lambda: True)
    declared = QueueId(cluster.index + 1)
    assert view.settings(declared) is UNKNOWN
    cluster.ok(queue("q"))
    assert view.settings(declared) is PLAIN
