"""How the queues that a leader knows go, and stay gone, scene by scene."""

from __future__ import annotations

from cluster.broker.shard.messages import ReplyStatus, RequestOp
from tests.broker.shard.scene import QUEUE, WINDOW, Scene, holding


def test_a_queue_that_held_nothing_goes_without_an_entry() -> None:
    scene = Scene()
    scene.consume(1, credit=1)
    scene.leader.drop(QUEUE)
    assert not scene.leader.wants_entry
    assert QUEUE not in scene.leader.queues
    scene.run()
    assert scene.words[1].cancelled == [1]


def test_what_was_on_its_way_to_a_queue_that_held_nothing_goes_too() -> None:
    scene = Scene()
    scene.batch(2, records=[b"a"], runs=[(QUEUE, 0, 1)])
    data = scene.leader.take_entry(0, WINDOW)
    assert data is not None
    scene.leader.entry_accepted()
    scene.leader.drop(QUEUE)
    scene.leader.applied(scene.state.apply(scene.state.applied_index + 1, data), data)
    assert scene.leader.wants_entry
    scene.run()
    assert QUEUE not in scene.state.queues


def test_a_dropped_queue_goes_and_its_consumers_are_told() -> None:
    scene = Scene()
    scene.consume(1, credit=1)
    scene.publish(b"a", b"b")
    scene.leader.drop(QUEUE)
    scene.run()
    assert scene.words[1].cancelled == [1]
    assert QUEUE not in scene.state.queues
    assert QUEUE not in scene.leader.queues
    assert scene.state.live == {}


def test_what_comes_late_for_a_dropped_queue_goes_too() -> None:
    scene = Scene()
    scene.publish(b"a")
    scene.leader.drop(QUEUE)
    scene.run()
    scene.publish(b"late")
    assert QUEUE not in scene.state.queues
    scene.leader.attach(1, [holding(4, (0, 1), credit=1)])
    scene.ask(RequestOp.GET, 5)
    scene.run()
    assert scene.words[1].cancelled == [4]
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.GONE]
    assert QUEUE not in scene.leader.queues


def test_a_new_leader_asks_the_catalog_about_queues_that_turn_up() -> None:
    scene = Scene()
    scene.publish(b"a")
    scene.deleted.add(QUEUE)
    scene.new_leader()
    scene.leader.all_attached()
    scene.run()
    assert QUEUE not in scene.state.queues
    scene.new_leader()
    scene.leader.all_attached()
    scene.publish(b"late")
    assert QUEUE not in scene.state.queues
