"""What a leader says of the messages of a queue when somebody asks."""

from __future__ import annotations

from cluster.amqp.field_table import Timestamp
from cluster.amqp.properties import BasicProperties, encode_header
from cluster.amqp.record import Record
from cluster.broker.shard.leader import LeaderLimits
from cluster.broker.shard.messages import RequestOp
from cluster.broker.shard.weight import READ_COSTS
from cluster.node.admin.report import QueueCounts
from tests.broker.shard.scene import QUEUE, Scene
from tests.broker.shard.timed import Timed

PATIENCE = 10_000
SMALL_CACHE = LeaderLimits(payload_cache_bytes=1)


def message(size: int, seconds: int | None = None) -> bytes:
    """A record with so much of a body."""
    properties = BasicProperties(timestamp=None if seconds is None else Timestamp(seconds), headers={"h": "x" * size})
    return Record(b"\0\1q", encode_header(size, properties), bytes(size)).encode()


def figures(scene: Scene, patience: int = PATIENCE) -> QueueCounts:
    return QueueCounts.of(scene.leader.figures.of(scene.leader.queues[QUEUE], patience))


def test_bodies_are_weighed_without_headers_apart_for_what_is_ready_and_what_is_held() -> None:
    scene = Scene()
    scene.publish(message(3), message(40, 1_700_000_000), message(500))
    scene.consume(1, credit=1)
    found = figures(scene)
    assert (found.ready_bytes, found.unacked_bytes, found.parked_bytes) == (540, 3, 0)
    assert (found.ready_in_memory, found.unacked_in_memory, found.bytes_in_memory) == (2, 1, 543)
    assert found.head_timestamp == 1_700_000_000
    assert found.memory_bytes > 543
    scene.batch(settles=[(QUEUE, 0, 1)])
    scene.run()
    assert (figures(scene).ready_bytes, figures(scene).unacked_bytes) == (540, 0)


def test_what_is_not_in_memory_is_read_for_its_weight_and_not_kept() -> None:
    scene = Scene(limits=SMALL_CACHE)
    for size in (10, 20, 30):
        scene.publish(message(size))
    found = figures(scene)
    assert (found.ready_bytes, found.ready_in_memory, found.bytes_in_memory) == (60, 1, 30)
    assert scene.leader.figures.payload_reads == 3  # two for their weight, the first of them for its timestamp as well


def test_a_queue_of_more_messages_than_there_is_patience_for_is_weighed_at_both_ends() -> None:
    scene = Scene()
    scene.publish(*[message(10)] * 50, *[message(20)] * 50)
    assert figures(scene, 100).ready_bytes == 1500
    assert figures(scene, 20).ready_bytes == 1500
    assert figures(scene, 4).ready_in_memory == 4


def test_without_patience_for_reading_nothing_is_read() -> None:
    scene = Scene(limits=SMALL_CACHE)
    scene.publish(message(10))
    scene.publish(message(20))
    found = figures(scene, READ_COSTS // 2)
    assert (found.ready_bytes, found.ready_in_memory) == (40, 1)
    assert scene.leader.figures.payload_reads == 0


def test_a_queue_is_idle_since_something_last_happened_and_not_since_it_was_asked_about() -> None:
    scene = Timed()
    scene.pass_time(4_000)
    scene.publish(message(1))
    scene.pass_time(4_000)
    scene.ask(RequestOp.INFO)
    scene.run()
    found = figures(scene)
    assert (found.stirred_ms, found.clock_ms) == (5_000, 9_000)


def test_consumers_can_take_what_comes_as_long_as_one_of_them_has_credit() -> None:
    scene = Timed()
    scene.consume(1, credit=1)
    scene.pass_time(3_000)
    assert (figures(scene).able_ms, figures(scene).is_able) == (3_000, 1)
    scene.publish(message(1), message(1))
    scene.pass_time(5_000)
    assert (figures(scene).able_ms, figures(scene).is_able) == (3_000, 0)
    scene.leader.credit(1, QUEUE, 1, 5, 0)
    scene.run()
    scene.pass_time(500)
    assert (figures(scene).able_ms, figures(scene).is_able) == (3_500, 1)


def test_the_consumer_that_alone_is_served_is_named() -> None:
    alone = Timed(single_active_consumer=True)
    assert figures_of_none(alone)
    alone.consume(4)
    alone.consume(5, node=2)
    assert (figures(alone).chosen_node, figures(alone).chosen_consumer) == (1, 4)
    alone.ask(RequestOp.CANCEL, 4)
    alone.run()
    assert (figures(alone).chosen_node, figures(alone).chosen_consumer) == (2, 5)
    shared = Scene()
    shared.consume(1)
    assert (figures(shared).chosen_node, figures(shared).chosen_consumer) == (0, 0)
    exclusive = Scene()
    exclusive.consume(8, exclusive=1)
    assert (figures(exclusive).chosen_node, figures(exclusive).chosen_consumer) == (1, 8)


def figures_of_none(scene: Scene) -> bool:
    """A queue that nothing was done to is not known to its leader."""
    return QUEUE not in scene.leader.queues
