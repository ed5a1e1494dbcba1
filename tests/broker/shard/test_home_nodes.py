"""What home nodes bring to a shard's leader, and what comes back when they go, scene by scene."""

from __future__ import annotations

import pytest

from cluster.broker.shard import proposals
from cluster.broker.shard.messages import RequestOp
from tests.broker.shard.scene import QUEUE, Scene, holding


def test_messages_of_a_lost_node_go_to_others_as_redelivered() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"a", b"b")
    scene.leader.node_lost(1)
    scene.run()
    scene.consume(9, node=2)
    assert scene.seqs(2) == [(9, 0, True), (9, 1, True)]


def test_what_a_lost_node_had_settled_itself_counts_before_its_messages_come_back() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"a", b"b")
    scene.batch(records=[b"x" * 50], runs=[(QUEUE, 0, 1)])
    scene.batch(settles=[(QUEUE, 0, 1)], returns=[(QUEUE, 1, 1)])
    scene.leader.node_lost(1)
    scene.append(bytes_max=1)
    assert scene.state.queues[QUEUE].returned == {}, "the second batch of the node is not in the log yet"
    scene.append(bytes_max=1)
    assert scene.state.queues[QUEUE].returned == {1: 2}
    scene.consume(9, node=2)
    assert scene.seqs(2) == [(9, 1, True), (9, 2, False)]


def test_an_old_return_cannot_take_a_message_from_the_nodes_next_incarnation() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"a")
    scene.batch(records=[b"x" * 50], runs=[(QUEUE, 0, 1)])
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.leader.node_lost(1)
    scene.leader.attach(1, [holding(5, credit=1)])
    scene.append(bytes_max=1)
    scene.append(bytes_max=1)
    first = scene.leader.take_out()[1].deliveries
    scene.run()
    assert [(d[0], d[2], d[4]) for d in first] == [(5, 0, True)]
    assert scene.seqs() == []


def test_a_node_that_attaches_again_in_time_keeps_what_it_holds() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"a", b"b")
    scene.consume(9, node=2)
    scene.leader.node_lost(1)
    scene.leader.attach(1, [holding(1, (0, 2))])
    scene.run()
    assert scene.seqs(2) == []
    assert scene.leader.queues[QUEUE].unacked.count == 2


def test_a_node_that_attaches_too_late_does_not_take_messages_from_who_has_them_now() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"a")
    scene.consume(9, node=2)
    scene.leader.node_lost(1)
    scene.run()
    assert scene.seqs(2) == [(9, 0, True)]
    scene.leader.attach(1, [holding(1, (0, 1))])
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.run()
    assert [(a, b, h.node) for a, b, h in scene.leader.queues[QUEUE].unacked] == [(0, 1, 2)]


def test_a_new_leader_takes_a_message_back_when_the_return_was_done_and_the_home_node_did_not_know() -> None:
    scene = Scene()
    scene.consume(1, credit=1)
    scene.publish(b"a")
    done = scene.batch(returns=[(QUEUE, 0, 1)])
    scene.run()
    scene.new_leader()
    scene.leader.attach(1, [holding(1, (0, 1))])
    scene.leader.receive_batch(done)
    scene.leader.attach(2, [holding(9, credit=1)])
    scene.leader.all_attached()
    scene.run()
    assert scene.seqs(2) == [(9, 0, True)]


def test_what_a_lost_node_held_comes_back_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "ENTRY_ROWS_MAX", 2)
    scene = Scene()
    scene.consume(1, credit=11)
    scene.publish(*[b"a"] * 11)
    scene.batch(settles=[(QUEUE, seq, 1) for seq in (1, 3, 5, 7, 9)])
    scene.run()
    before = len(scene.entries)
    scene.leader.node_lost(1)
    scene.run()
    assert len(scene.entries) == before + 3
    scene.consume(2, node=2)
    assert [seq for _, seq, _ in scene.seqs(2)] == [0, 2, 4, 6, 8, 10]


def test_replies_to_a_node_that_was_lost_are_not_said_to_its_next_incarnation() -> None:
    scene = Scene()
    scene.ask(RequestOp.INFO)
    scene.leader.node_lost(1)
    scene.leader.attach(1, [])
    scene.run()
    assert scene.replies() == []
