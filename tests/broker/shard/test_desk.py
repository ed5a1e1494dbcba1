"""What home nodes ask of a queue, and the answers, scene by scene."""

from __future__ import annotations

import pytest

from cluster.broker.shard import proposals
from cluster.broker.shard.desk import CLOSED_MS
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from tests.broker.shard.scene import QUEUE, WINDOW, Scene, holding
from tests.broker.shard.timed import Timed


def test_a_purge_waits_for_the_attachments_and_spares_what_consumers_hold() -> None:
    scene = Scene()
    scene.consume(1, credit=1)
    scene.publish(b"a", b"b", b"c")
    scene.new_leader()
    scene.leader.attach(2, [])
    request = scene.ask(RequestOp.PURGE, node=2)
    scene.leader.attach(1, [holding(1, (0, 1))])
    scene.leader.all_attached()
    scene.run()
    assert scene.replies(2) == [(request, ReplyStatus.OK, 2)]
    assert scene.state.queues[QUEUE].alive == 1


def test_a_purge_is_answered_when_the_log_has_carried_it_out() -> None:
    scene = Scene()
    scene.publish(b"a", b"b")
    request = scene.ask(RequestOp.PURGE)
    assert not [words for words in scene.leader.take_out().values() if words.replies]
    scene.run()
    assert scene.replies() == [(request, ReplyStatus.OK, 2)]


def test_a_purge_of_an_empty_queue_is_answered_at_once() -> None:
    scene = Scene()
    request = scene.ask(RequestOp.PURGE)
    scene.run()
    assert scene.replies() == [(request, ReplyStatus.OK, 0)]


def test_a_purge_of_many_stretches_is_answered_when_all_of_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "ENTRY_ROWS_MAX", 2)
    scene = Scene()
    scene.publish(*[b"a"] * 10)
    scene.batch(settles=[(QUEUE, seq, 1) for seq in (1, 3, 5, 7)])
    scene.run()
    before = len(scene.entries)
    request = scene.ask(RequestOp.PURGE)
    scene.append()
    assert scene.leader.take_out() == {}
    scene.run()
    assert scene.replies() == [(request, ReplyStatus.OK, 6)]
    assert len(scene.entries) == before + 3
    assert scene.state.queues[QUEUE].alive == 0


def test_a_retry_is_answered_when_the_log_has_carried_it_out() -> None:
    scene = Timed(delivery_limit=0, is_quorum=True)
    scene.publish_marked(3, [])
    scene.consume(1)
    scene.batch(returns=[(QUEUE, 0, 1), (QUEUE, 2, 1)])
    scene.run()
    first, second = scene.ask(RequestOp.RETRY), scene.ask(RequestOp.RETRY, node=2)
    assert not [words for words in scene.leader.take_out().values() if words.replies]
    scene.run()
    assert (scene.replies(1), scene.replies(2)) == ([(first, ReplyStatus.OK, 2)], [(second, ReplyStatus.OK, 2)])
    third = scene.ask(RequestOp.RETRY)
    scene.run()
    assert scene.answer(third) == 0


def test_a_retry_of_what_a_purge_takes_is_answered_as_is_one_of_a_queue_that_is_dropped() -> None:
    for is_dropped in (False, True):
        scene = Timed(delivery_limit=0, is_quorum=True)
        scene.publish_marked(1, [])
        scene.consume(1)
        scene.batch(returns=[(QUEUE, 0, 1)])
        scene.run()
        request = scene.ask(RequestOp.RETRY)
        if is_dropped:
            scene.leader.drop(QUEUE)
        else:
            scene.ask(RequestOp.PURGE)
        scene.run()
        assert scene.answer(request) == 1


def test_basic_get_gives_one_message_and_says_how_many_are_left() -> None:
    scene = Scene()
    scene.publish(b"abc", b"d")
    request = scene.ask(RequestOp.GET, 3)
    scene.run()
    assert scene.replies() == [(request, ReplyStatus.OK, [0, False, bytes([3, 0, 0, 0]), b"abc", 1])]


def test_basic_get_of_an_empty_queue_gives_none() -> None:
    scene = Scene()
    request = scene.ask(RequestOp.GET, 3)
    scene.run()
    assert scene.replies() == [(request, ReplyStatus.OK, None)]


def test_who_may_be_leader_no_more_does_not_say_that_a_queue_is_empty() -> None:
    scene = Scene()
    scene.is_leaving = True
    request = scene.ask(RequestOp.GET, 3)
    scene.leader.tick(0)
    scene.run()
    assert scene.replies() == []
    scene.is_leaving = False
    assert scene.leader.tick(0), "there is something to say"
    scene.run()
    assert scene.replies() == [(request, ReplyStatus.OK, None)]


def test_an_exclusive_consumer_keeps_others_out_and_is_not_its_own_rival() -> None:
    scene = Scene()
    scene.consume(1, exclusive=1)
    scene.consume(1, exclusive=1)
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.OK]
    scene.consume(2)
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.EXCLUSIVE]
    scene.ask(RequestOp.CANCEL, 1)
    scene.consume(2)
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.OK, ReplyStatus.OK]
    scene.consume(3, exclusive=1)
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.EXCLUSIVE]


def test_after_a_cancel_nothing_more_comes() -> None:
    scene = Scene()
    scene.consume(1)
    scene.ask(RequestOp.CANCEL, 1)
    scene.publish(b"a")
    assert scene.seqs() == []
    assert scene.leader.queues[QUEUE].ready.count == 1


def test_delete_refuses_as_it_was_asked_to() -> None:
    scene = Scene()
    scene.consume(1, credit=0)
    scene.publish(b"a")
    scene.ask(RequestOp.DELETE, 1, 0)
    scene.ask(RequestOp.DELETE, 0, 1)
    scene.ask(RequestOp.DELETE, 0, 0)
    scene.ask(RequestOp.CONSUME, 2, 1, WINDOW, 0)
    scene.run()
    expected = [ReplyStatus.IN_USE, ReplyStatus.NOT_EMPTY, ReplyStatus.OK, ReplyStatus.GONE]
    assert [status for _, status, _ in scene.replies()] == expected


def test_what_is_parked_or_delayed_keeps_a_queue_from_going_if_it_is_empty() -> None:
    scene = Timed(delivery_limit=0, is_quorum=True)
    scene.publish_marked(1, [])
    scene.consume(1)
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.run()
    scene.ask(RequestOp.DELETE, 0, 1)
    scene.run()
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.NOT_EMPTY]
    scene.ask(RequestOp.PURGE)
    scene.publish_marked(1, [(0, Mark.DELAY, 500)])
    scene.ask(RequestOp.DELETE, 0, 1)
    scene.run()
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.NOT_EMPTY]
    scene.ask(RequestOp.PURGE)
    scene.pass_time(500)
    scene.batch(settles=[(QUEUE, 1, 1)])
    scene.ask(RequestOp.DELETE, 0, 1)
    scene.run()
    assert [status for _, status, _ in scene.replies()] == [ReplyStatus.OK]


def test_a_queue_whose_deletion_the_catalog_does_not_hear_of_is_open_again() -> None:
    scene = Scene()
    scene.publish(b"a")
    scene.ask(RequestOp.DELETE, 0, 0)
    scene.leader.tick(CLOSED_MS - 1)
    for op in (RequestOp.INFO, RequestOp.PURGE, RequestOp.RETRY):
        scene.ask(op)
    scene.run()
    gone = [(status, value) for _, status, value in scene.replies()[1:]]
    assert gone == [(ReplyStatus.GONE, [1, 0, 0, 0, 1, 0, 0]), (ReplyStatus.GONE, None), (ReplyStatus.GONE, None)]
    scene.leader.tick(CLOSED_MS)
    scene.consume(1)
    assert scene.seqs() == [(1, 0, False)]
