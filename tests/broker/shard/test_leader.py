"""The leader of a shard and its log, scene by scene."""

from __future__ import annotations

import pytest

from cluster.broker.shard import proposals
from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.entry import HEAVY_BATCH_BYTES, QueueId
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from tests.broker.shard.scene import QUEUE, WINDOW, Scene


def test_nothing_is_delivered_and_nothing_answered_while_home_nodes_attach() -> None:
    scene = Scene(attach=False)
    scene.publish(b"a")
    request = scene.ask(RequestOp.INFO)
    scene.consume(1)
    assert scene.seqs() == []
    assert scene.replies() == []
    scene.leader.all_attached()
    scene.run()
    assert scene.seqs() == [(1, 0, False)]
    assert scene.replies()[0] == (request, ReplyStatus.OK, [1, 0, 0, 0, 1, 0, 0])


def test_a_returned_message_comes_back_before_later_ones_and_says_so() -> None:
    scene = Scene()
    scene.consume(1, credit=2)
    scene.publish(b"a", b"b", b"c")
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.leader.credit(1, QUEUE, 1, 2, 0)
    scene.append()
    scene.run()
    assert scene.seqs() == [(1, 0, True), (1, 2, False)]


def test_a_new_leader_shows_what_may_have_been_delivered_as_redelivered() -> None:
    scene = Scene()
    scene.consume(1, credit=1)
    scene.publish(b"a")
    scene.new_leader()
    scene.leader.all_attached()
    scene.consume(9, node=2)
    assert scene.seqs(2) == [(9, 0, True)]


def test_what_nobody_consumed_is_new_to_the_consumers_of_a_new_leader() -> None:
    scene = Scene()
    scene.publish(b"a")
    scene.new_leader()
    scene.leader.all_attached()
    scene.consume(9, node=2)
    assert scene.seqs(2) == [(9, 0, False)]


def test_a_batch_that_was_done_gets_its_receipt_again_and_is_not_done_again() -> None:
    scene = Scene()
    done = scene.batch(records=[b"a"], runs=[(QUEUE, 0, 1)])
    scene.run()
    scene.leader.receive_batch(done)
    scene.run()
    assert scene.words[1].receipt == (1, 1)
    assert scene.state.queues[QUEUE].alive == 1


def test_a_refused_entry_is_offered_again_as_it_was() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"a", b"b")
    scene.batch(2, records=[b"x"], runs=[(QueueId(8), 0, 1)])
    scene.run()
    scene.leader.node_lost(1)
    scene.batch(2, records=[b"c"], runs=[(QUEUE, 0, 1)])
    scene.leader.drop(QueueId(8))
    bytes_before = scene.leader.figures.batch_bytes
    first = scene.leader.take_entry(0, WINDOW)
    scene.leader.entry_refused()
    assert scene.leader.figures.batch_bytes == bytes_before
    assert scene.leader.take_entry(0, WINDOW) == first


def test_a_large_message_has_an_entry_of_its_own() -> None:
    scene = Scene()
    for node, size in ((1, 1), (2, 2), (1, HEAVY_BATCH_BYTES), (2, 4), (1, 5)):
        scene.batch(node, records=[bytes(size)], runs=[(QUEUE, 0, 1)])
    while scene.leader.wants_entry:
        scene.append(1 << 30)
    entries = [len(data) >= HEAVY_BATCH_BYTES for data in scene.entries.values()]
    assert entries == [False, True, False]
    scene.consume(1, size=1 << 30)
    got = [unpack_column("I", sizes)[i] for _, _, _, n, _, sizes, _ in scene.deliveries() for i in range(n)]
    assert got == [1, 2, HEAVY_BATCH_BYTES, 4, 5]


def test_an_entry_ends_where_it_answers_for_many_stretches_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "ENTRY_ROWS_MAX", 2)
    scene = Scene()
    scene.consume(1)
    scene.publish(*[b"a"] * 12)
    for seqs in ((0, 2), (4,), (6, 8), (10,)):
        scene.batch(returns=[(QUEUE, seq, 1) for seq in seqs])
    before = len(scene.entries)
    scene.run()
    assert len(scene.entries) == before + 3
    assert [seq for _, seq, _ in scene.seqs()] == [0, 2, 4, 6, 8, 10]
