"""What a leader decides by time and settings, scene by scene, and that the next leader decides the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.broker.shard import keeper
from cluster.broker.shard.leader import LeaderLimits
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.messages import RequestOp
from cluster.broker.shard.settings import QueueSettings
from tests.broker.shard.batches import Triples
from tests.broker.shard.scene import QUEUE, holding
from tests.broker.shard.timed import Timed


def test_a_ttl_runs_on_under_the_next_leader() -> None:
    scene = Timed(message_ttl_ms=100)
    scene.publish_marked(2, [])
    scene.pass_time(60)
    scene.change_leader()
    scene.pass_time(39)
    assert scene.alive == [0, 1]
    scene.pass_time(1)
    assert scene.alive == []


def test_a_message_that_takes_consumer_and_leader_down_each_time_meets_its_limit() -> None:
    scene = Timed(delivery_limit=2, is_quorum=True)
    scene.publish_marked(1, [])
    for _ in range(3):
        scene.consume(1)
        assert [seq for _, seq, _ in scene.seqs()] == [0]
        scene.change_leader()
    scene.consume(1)
    assert scene.seqs() == [], "it is parked"


@pytest.mark.parametrize("own", [False, True])
def test_with_a_ttl_of_0_whoever_waits_gets_the_message_however_long_the_log_took(own: bool) -> None:
    scene = Timed(message_ttl_ms=None if own else 0)
    marks: Triples = [(0, Mark.EXPIRATION, 0)] if own else []
    scene.slow_log_ms = 3 * keeper.ZERO_TTL_MS
    scene.publish_marked(1, marks)
    scene.pass_time(1)
    assert scene.alive == [], "nobody waits"
    scene.consume(1)
    scene.publish_marked(1, marks)
    assert [seq for _, seq, _ in scene.seqs()] == [1]


@pytest.mark.parametrize("own", [False, True])
def test_with_a_ttl_of_0_a_message_that_nobody_waits_for_is_gone_before_somebody_asks(own: bool) -> None:
    scene = Timed(message_ttl_ms=None if own else 0)
    scene.publish_marked(2, [(0, Mark.EXPIRATION, 0), (1, Mark.EXPIRATION, 0)] if own else [])
    assert scene.alive == []


def test_with_a_ttl_of_0_a_message_waits_a_little_for_the_credit_of_a_consumer() -> None:
    scene = Timed(message_ttl_ms=0)
    scene.consume(1, credit=0)
    scene.publish_marked(1, [])
    scene.pass_time(keeper.ZERO_TTL_MS - 1)
    assert scene.alive == [0]
    scene.pass_time(1)
    assert scene.alive == []


def test_what_a_leader_whose_clock_was_ahead_has_taken_is_as_old_as_the_next_leader() -> None:
    scene = Timed(message_ttl_ms=100)
    scene.now_ms += 3_600_000
    scene.publish_marked(2, [(1, Mark.DELAY, 50)])
    scene.now_ms -= 3_600_000
    scene.change_leader()
    scene.publish_marked(1, [])
    scene.pass_time(99)
    assert scene.alive == [0, 1, 2]
    scene.pass_time(1)
    assert scene.alive == []


def test_a_message_expires_when_it_stands_at_the_head() -> None:
    scene = Timed()
    scene.publish_marked(3, [(1, Mark.EXPIRATION, 10), (0, Mark.EXPIRATION, 200)])
    scene.pass_time(100)
    assert scene.alive == [0, 1, 2], "the one that is too old stands behind another"
    scene.pass_time(100)
    assert scene.alive == [2]


@pytest.mark.parametrize("expiration_ms", [0, 10])
@pytest.mark.parametrize("max_priority", [0, 3])
def test_no_consumer_gets_what_is_too_old_behind_what_is_not(max_priority: int, expiration_ms: int) -> None:
    scene = Timed(max_priority=max_priority)
    scene.publish_marked(5, [(n, Mark.EXPIRATION, expiration_ms) for n in (1, 2, 4)])
    scene.pass_time(100)
    assert scene.alive == [0, 1, 2, 3, 4]
    scene.consume(1)
    assert [seq for _, seq, _ in scene.seqs()] == [0, 3]
    scene.run()
    assert scene.alive == [0, 3]


def test_a_get_passes_over_what_is_too_old_and_does_not_count_it() -> None:
    scene = Timed()
    scene.publish_marked(5, [(n, Mark.EXPIRATION, 10) for n in (1, 2, 4)])
    scene.pass_time(100)
    answers = []
    for _ in range(3):
        request = scene.ask(RequestOp.GET, 1)
        scene.run()
        answers.append(scene.answer(request))
    (first, *_, left_first), (second, *_, left_second), third = answers  # type: ignore[misc]
    assert (first, left_first, second, left_second, third) == (0, 2, 3, 0, None)


def test_the_first_messages_of_a_queue_have_their_priorities() -> None:
    scene = Timed(max_priority=9)
    scene.publish_marked(3, [(1, Mark.PRIORITY, 5)])
    scene.consume(1)
    assert [seq for _, seq, _ in scene.seqs()] == [1, 0, 2]


def test_priorities_hold_under_the_next_leader() -> None:
    scene = Timed(max_priority=9)
    scene.publish_marked(4, [(1, Mark.PRIORITY, 5), (2, Mark.PRIORITY, 12), (3, Mark.PRIORITY, 5)])
    scene.change_leader()
    scene.consume(1)
    assert [seq for _, seq, _ in scene.seqs()] == [2, 1, 3, 0]


def test_a_delay_runs_on_under_the_next_leader() -> None:
    scene = Timed()
    scene.publish_marked(2, [(0, Mark.DELAY, 100)])
    scene.consume(1)
    assert [seq for _, seq, _ in scene.seqs()] == [1]
    scene.pass_time(50)
    scene.change_leader(holding(1, (1, 2), credit=9))
    assert scene.seqs() == []
    scene.pass_time(50)
    assert [seq for _, seq, _ in scene.seqs()] == [0]


def test_the_consumer_that_holds_messages_stays_the_active_one_under_the_next_leader() -> None:
    scene = Timed(single_active_consumer=True)
    scene.consume(1)
    scene.consume(2)
    scene.publish_marked(1, [])
    assert [c for c, _, _ in scene.seqs()] == [1]
    scene.change_leader(holding(2, credit=9), holding(1, (0, 1), credit=9))
    scene.publish_marked(1, [])
    assert [c for c, _, _ in scene.seqs()] == [1]
    scene.ask(RequestOp.CANCEL, 1)
    scene.publish_marked(1, [])
    assert [c for c, _, _ in scene.seqs()] == [2]


def test_the_consumer_that_was_served_last_stays_the_active_one_under_the_next_leader() -> None:
    scene = Timed(single_active_consumer=True)
    scene.change_leader(
        replace(holding(1, credit=9), served_end=3),
        replace(holding(2, credit=9), served_end=5),
        replace(holding(3, credit=9), priority=9),
    )
    scene.publish_marked(1, [])
    assert [c for c, _, _ in scene.seqs()] == [2]


def test_what_is_parked_stays_so_under_the_next_leader_until_it_is_tried_again() -> None:
    scene = Timed(delivery_limit=0, is_quorum=True)
    scene.publish_marked(1, [])
    scene.consume(1)
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.run()
    assert scene.seqs() == []
    scene.change_leader(holding(1, credit=9))
    request = scene.ask(RequestOp.INFO)
    scene.run()
    assert scene.answer(request) == [0, 0, 1, 1, 1, 0, 0]
    request = scene.ask(RequestOp.RETRY)
    scene.run()
    assert scene.answer(request) == 1
    assert [(seq, int(redelivered)) for _, seq, redelivered in scene.seqs()] == [(0, 1)]


def test_a_deep_queue_with_priorities_is_sorted_in_pieces_and_hands_out_nothing_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "SORTED_AT_ONCE", 4)
    scene = Timed(max_priority=9)
    scene.publish_marked(10, [(9, Mark.PRIORITY, 9)])
    scene.change_leader(holding(1, credit=99))
    assert scene.deliveries() == []
    scene.publish_marked(2, [(0, Mark.PRIORITY, 9)])
    assert [seq for _, seq, _ in scene.seqs()] == [9, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 11]


def test_a_deep_queue_with_priorities_is_sorted_though_nothing_happens_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "SORTED_AT_ONCE", 4)
    scene = Timed(max_priority=9)
    scene.publish_marked(17, [(16, Mark.PRIORITY, 9)])
    scene.change_leader(holding(1, credit=99))
    seqs: list[int] = []
    for _ in range(3):
        assert not seqs
        scene.pass_time(50)
        seqs = [seq for _, seq, _ in scene.seqs()]
    assert seqs == [16, *range(16)]


def test_a_deep_queue_with_priorities_is_purged_while_it_is_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "SORTED_AT_ONCE", 4)
    scene = Timed(max_priority=9)
    scene.publish_marked(10, [(1, Mark.PRIORITY, 9)])
    scene.change_leader()
    request = scene.ask(RequestOp.PURGE)
    scene.run()
    assert scene.answer(request) == 10
    assert scene.alive == []


def test_a_deep_queue_is_weighed_in_pieces_and_then_keeps_its_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "WEIGHED_AT_ONCE", 1)
    scene = Timed()
    scene.publish_marked(9, [])
    scene.publish_marked(9, [])
    scene.change_leader()
    scene.catalog.of_queue = QueueSettings("q", max_length_bytes=3)
    scene.leader.settings_changed(QUEUE)
    scene.run()
    assert len(scene.alive) > 10
    for _ in range(20):
        scene.pass_time(50)
    assert scene.alive == [15, 16, 17]


def test_what_has_been_weighed_is_not_read_again_when_its_delay_is_over() -> None:
    scene = Timed(max_length_bytes=50)
    scene.limits = LeaderLimits(payload_cache_bytes=0)
    scene.change_leader()
    scene.publish_marked(4, [(n, Mark.DELAY, 100) for n in range(4)])
    scene.publish_marked(1, [])
    reads = scene.leader.figures.payload_reads
    scene.pass_time(100)
    assert scene.leader.figures.payload_reads == reads
    assert scene.leader.queues[QUEUE].ready.bytes == 5  # type: ignore[union-attr]


def test_a_queue_that_drops_its_oldest_spares_what_is_delayed_until_its_wait_is_over() -> None:
    scene = Timed(max_length=2)
    scene.publish_marked(4, [(n, Mark.DELAY, 100) for n in range(4)])
    scene.publish_marked(3, [])
    assert scene.alive == [0, 1, 2, 3, 5, 6]
    scene.pass_time(100)
    assert scene.alive == [5, 6]


@pytest.mark.parametrize("limit", ["max_length", "max_length_bytes"])
def test_no_more_is_parked_than_a_queue_may_hold(limit: str) -> None:
    scene = Timed(delivery_limit=0, is_quorum=True, **{limit: 2})
    scene.consume(1)
    for seq in range(5):
        scene.publish_marked(1, [])
        assert [s for _, s, _ in scene.seqs()] == [seq]
        scene.batch(returns=[(QUEUE, seq, 1)])
        scene.run()
    assert scene.alive == [3, 4]
    assert scene.leader.queues[QUEUE].parked.count == 2
    scene.change_leader()
    assert scene.alive == [3, 4]


def test_delays_that_are_over_together_end_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LEAVING_AT_ONCE", 4)
    scene = Timed()
    scene.publish_marked(10, [(n, Mark.DELAY, 100 - n % 2) for n in range(10)])
    scene.pass_time(100)
    ready = scene.leader.queues[QUEUE].ready
    assert list(ready) == [(1, 2), (3, 4), (5, 6), (7, 8)], "the soonest first"
    scene.pass_time(1)
    scene.pass_time(1)
    assert list(ready) == [(0, 10)]


@pytest.mark.parametrize("own", [False, True])
def test_a_deep_queue_that_is_too_old_leaves_in_pieces(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    monkeypatch.setattr(keeper, "LEAVING_AT_ONCE", 4)
    scene = Timed(message_ttl_ms=None if own else 100)
    for _ in range(10):
        scene.publish_marked(1, [(0, Mark.EXPIRATION, 100)] if own else [])
    scene.pass_time(100)
    assert scene.alive == [4, 5, 6, 7, 8, 9]
    scene.consume(1)
    assert scene.deliveries() == [], "what is too old is not handed out"
    scene.pass_time(1)
    assert scene.alive == []


def test_what_came_together_is_too_old_together() -> None:
    scene = Timed(message_ttl_ms=100)
    scene.publish_marked(10_000, [])
    scene.consume(1, credit=3)
    scene.pass_time(50)
    scene.publish_marked(2, [])
    scene.pass_time(50)
    assert scene.alive == [0, 1, 2, 10_000, 10_001], "what a consumer has is not too old"


def test_the_first_with_a_longer_expiration_stops_those_behind_it() -> None:
    scene = Timed()
    scene.publish_marked(6, [(n, Mark.EXPIRATION, 500 if n == 3 else 10) for n in range(6)])
    scene.pass_time(50)
    assert scene.alive == [3, 4, 5]
    scene.pass_time(450)
    assert scene.alive == []


def test_priorities_and_expirations_go_together() -> None:
    scene = Timed(max_priority=3, message_ttl_ms=100)
    scene.publish_marked(6, [(n, Mark.PRIORITY, n % 3) for n in range(6)])
    scene.publish_marked(1, [(0, Mark.EXPIRATION, 10)])
    scene.pass_time(50)
    assert scene.alive == [0, 1, 2, 3, 4, 5, 6], "it stands behind others of its priority"
    scene.pass_time(50)
    assert scene.alive == []


def test_what_was_parked_is_redelivered_when_it_is_tried_again_under_the_same_leader() -> None:
    scene = Timed(delivery_limit=0, is_quorum=True)
    scene.publish_marked(1, [])
    scene.consume(1)
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.run()
    scene.consume(2)
    scene.ask(RequestOp.RETRY)
    scene.run()
    assert [(seq, int(redelivered)) for _, seq, redelivered in scene.seqs()] == [(0, 1)]


def test_a_limit_that_comes_later_holds_for_what_is_there() -> None:
    scene = Timed()
    scene.publish_marked(5, [])
    scene.catalog.of_queue = QueueSettings("q", max_length=2)
    scene.leader.settings_changed(QUEUE)
    scene.run()
    assert scene.alive == [3, 4]


def test_a_queue_without_consumers_is_named_when_its_time_is_over_and_again_while_it_is_there() -> None:
    scene = Timed(expires_ms=500)
    scene.leader.settings_changed(QUEUE)
    scene.run()
    scene.consume(1)
    scene.pass_time(2000)
    assert scene.leader.take_unused() == []
    scene.ask(RequestOp.CANCEL, 1)
    scene.run()
    scene.pass_time(499)
    assert scene.leader.take_unused() == []
    scene.pass_time(1)
    assert scene.leader.take_unused() == [QUEUE]
    scene.pass_time(10)
    assert scene.leader.take_unused() == []
    scene.pass_time(1000)
    assert scene.leader.take_unused() == [QUEUE]


def test_a_dead_letter_that_goes_nowhere_waits_until_the_catalog_is_known_to_be_the_latest() -> None:
    """A queue may have been bound before it died, of which this copy has not heard."""
    scene = Timed(message_ttl_ms=100, dead_letter_exchange="x")
    scene.catalog.answered = 0
    scene.publish_marked(2, [])
    scene.pass_time(100)
    assert (scene.alive, scene.catalog.asked) == ([0, 1], 1)
    scene.publish_marked(1, [])
    scene.pass_time(100)
    assert (scene.alive, scene.catalog.asked) == ([0, 1, 2], 1)
    scene.catalog.answered = 1
    scene.pass_time(1)
    assert (scene.alive, scene.catalog.asked) == ([2], 2), "the third has died since then"
    scene.catalog.answered = 2
    scene.pass_time(1)
    assert (scene.alive, scene.catalog.asked) == ([], 2)
