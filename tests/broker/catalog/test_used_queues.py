"""The mark on auto-delete queues that have had a consumer."""

from __future__ import annotations

import msgpack

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.commands import DeclareQueue, DeleteQueue, QueueUsed
from cluster.broker.catalog.definitions import QueueDefinition
from tests.broker.catalog.build import Founded


def declared(
    cluster: Founded, name: str, *, durable: bool = True, exclusive: bool = False, auto_delete: bool = True
) -> QueueDefinition:
    queue = cluster.ok(DeclareQueue("/", name, durable, exclusive, auto_delete, owner="o", home=1, incarnation=1))
    assert isinstance(queue, QueueDefinition)
    return queue


def test_only_a_replicated_auto_delete_queue_is_marked_and_once(cluster: Founded) -> None:
    queue = declared(cluster, "q")
    others = [
        declared(cluster, "kept", auto_delete=False),
        declared(cluster, "transient", durable=False),
        declared(cluster, "exclusive", exclusive=True),
    ]
    cluster.ok(*[QueueUsed(each.id) for each in (queue, *others, queue)], QueueUsed(1 << 40))
    assert list(cluster.catalog.used_queues) == [queue.id]


def test_a_mark_changes_no_route_and_goes_with_its_queue(cluster: Founded) -> None:
    queue = declared(cluster, "q")
    version = cluster.catalog.version
    cluster.ok(QueueUsed(queue.id))
    assert cluster.catalog.version == version
    cluster.ok(DeleteQueue("/", "q"))
    declared(cluster, "q")
    assert not cluster.catalog.used_queues


def test_a_snapshot_keeps_the_marks_and_one_of_version_1_has_none(cluster: Founded) -> None:
    queue = declared(cluster, "q")
    cluster.ok(QueueUsed(queue.id))
    other = Catalog()
    other.restore(cluster.catalog.snapshot())
    assert list(other.used_queues) == [queue.id]
    assert other.snapshot() == cluster.catalog.snapshot()
    _, *rows, _ = msgpack.unpackb(cluster.catalog.snapshot(), strict_map_key=False)
    other.restore(msgpack.packb([1, *rows]))
    assert not other.used_queues
    assert list(other.queues) == list(cluster.catalog.queues)
