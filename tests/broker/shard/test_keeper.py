"""What a leader decides by time and settings, scene by scene, and that the next leader decides the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cluster.amqp.properties import BasicProperties
from cluster.broker.shard import keeper
from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from cluster.broker.shard.mark import Mark, pack_memory
from cluster.broker.shard.messages import AttachedConsumer, ReplyStatus, RequestOp
from cluster.broker.shard.settings import Overflow, QueueSettings
from cluster.broker.shard.surroundings import Target
from tests.broker.shard.batches import Triples, make_batch
from tests.broker.shard.dying import make_record
from tests.broker.shard.scene import QUEUE, WINDOW, Scene, holding


class Catalog:
    """`Surroundings` of one queue with settings; its dead letters go nowhere."""

    is_current = True
    knows_dooms = True
    answered = 1 << 30
    """All at once."""

    def __init__(self, settings: QueueSettings) -> None:
        self.of_queue = settings
        self.asked = 0

    def ask(self) -> int:
        self.asked += 1
        return self.asked

    def settings(self, queue: QueueId) -> QueueSettings:
        return self.of_queue

    def dead_letter_targets(
        self, queue: QueueId, exchange: str, routing_keys: Sequence[str], properties: BasicProperties
    ) -> Sequence[Target]:
        return ()


class Timed(Scene):
    """A scene with a clock."""

    def __init__(self, **settings: object) -> None:
        self.catalog = Catalog(QueueSettings("q", **settings))  # type: ignore[arg-type]
        self.now_ms = 1000
        self.slow_log_ms = 0
        """What an entry takes to be committed."""
        super().__init__()

    def new_leader(self) -> None:
        self.leader = ShardLeader(
            self.state,
            self.entries.__getitem__,
            self.limits,
            self.deleted.__contains__,
            self.catalog,
            now_ms=self.now_ms,
        )

    def change_leader(self, *attached: AttachedConsumer) -> None:
        self.new_leader()
        self.leader.attach(1, list(attached))
        self.leader.all_attached()
        self.run()

    def append(self, bytes_max: int = WINDOW) -> None:
        data = self.leader.take_entry(self.now_ms, bytes_max)
        assert data is not None
        self.leader.entry_accepted()
        if self.slow_log_ms:
            self.now_ms += self.slow_log_ms
            self.leader.tick(self.now_ms)
        index = self.state.applied_index + 1
        self.entries[index] = data
        self.leader.applied(self.state.apply(index, data), data)

    def publish_marked(self, count: int, marks: Triples) -> None:
        self.numbers[1] = self.numbers.get(1, 0) + 1
        records = [make_record(n) for n in range(count)]
        self.leader.receive_batch(make_batch(self.numbers[1], records=records, runs=[(QUEUE, 0, count)], marks=marks))
        self.run()

    def publish_alike(self, count: int) -> None:
        """Messages of one byte."""
        self.batch(records=[make_record(0)] * count, runs=[(QUEUE, 0, count)])
        self.run()

    def pass_time(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self.leader.tick(self.now_ms)
        self.run()

    @property
    def alive(self) -> list[int]:
        state = self.state.queues[QUEUE]
        return [seq for a, b in state.alive_parts(0, state.next_seq) for seq in range(a, b)]

    def answer(self, request: int) -> object:
        return next(value for number, _, value in self.replies() if number == request)


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


def test_a_limit_of_bytes_that_refuses_holds_within_a_batch_and_for_what_is_on_its_way() -> None:
    scene = Timed(max_length_bytes=5, overflow=Overflow.REJECT)
    scene.publish_marked(3, [])
    scene.publish_marked(9, [])
    assert len(scene.alive) == 5
    assert scene.leader.queues[QUEUE].coming_bytes == 0
    scene.batch(settles=[(QUEUE, 0, 2)])
    scene.run()
    scene.publish_marked(9, [])
    assert len(scene.alive) == 5


def test_what_is_delayed_counts_towards_a_limit_of_bytes_that_refuses() -> None:
    scene = Timed(max_length_bytes=5, overflow=Overflow.REJECT)
    scene.publish_marked(4, [(n, Mark.DELAY, 100) for n in range(4)])
    scene.change_leader()
    scene.publish_marked(9, [])
    assert len(scene.alive) == 5
    scene.pass_time(100)
    scene.publish_marked(1, [])
    assert len(scene.alive) == 5
    assert scene.leader.queues[QUEUE].ready.count == 5


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


@pytest.mark.parametrize("limit", ["max_length", "max_length_bytes"])
def test_what_is_parked_counts_towards_a_limit_that_refuses(limit: str) -> None:
    scene = Timed(delivery_limit=0, is_quorum=True, overflow=Overflow.REJECT, **{limit: 2})
    scene.publish_marked(2, [])
    scene.consume(1)
    scene.batch(returns=[(QUEUE, 0, 2)])
    scene.run()
    scene.ask(RequestOp.CANCEL, 1)
    scene.publish_marked(1, [])
    assert scene.alive == [0, 1]
    scene.ask(RequestOp.PURGE)
    scene.run()
    scene.publish_marked(1, [])
    assert scene.alive == [2]


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


def test_a_queue_that_refuses_takes_little_while_a_new_leader_weighs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "WEIGHED_AT_ONCE", 1)
    scene = Timed(max_length_bytes=800, overflow=Overflow.REJECT)
    for _ in range(7):
        scene.publish_alike(100)
    scene.change_leader()
    for _ in range(3):
        scene.publish_alike(90)
    assert not scene.leader.queues[QUEUE].ready.is_weighed  # type: ignore[union-attr]
    assert len(scene.alive) == 800, "all weigh the same, so what is not weighed is known"
    scene.batch(settles=[(QUEUE, 0, 700)])
    scene.run()
    scene.publish_alike(90)
    assert len(scene.alive) == 190, "nothing is left to be weighed"


def test_of_its_limit_an_eighth_at_most_is_let_in_before_all_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "WEIGHED_AT_ONCE", 1)
    scene = Timed(max_length_bytes=800, overflow=Overflow.REJECT)
    scene.publish_alike(30)
    scene.publish_alike(30)
    scene.change_leader()
    for _ in range(3):
        scene.publish_alike(90)
    assert len(scene.alive) == 60 + 100
    for _ in range(100):
        scene.pass_time(50)
    scene.publish_alike(90)
    assert len(scene.alive) == 60 + 190


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


def test_a_refused_publish_is_refused_again_by_the_next_leader() -> None:
    scene = Timed(max_length=1, overflow=Overflow.REJECT)
    scene.publish_marked(3, [])
    refused = scene.words[1].refused
    assert [(number, list(unpack_column("Q", pairs))) for number, pairs in refused] == [(1, [1, 2])]
    scene.change_leader()
    assert scene.words[1].receipt == (1, 1)
    assert scene.words[1].refused == refused
    assert scene.alive == [0]


def test_room_that_an_entry_took_is_counted_until_it_is_applied() -> None:
    scene = Timed(max_length=2, overflow=Overflow.REJECT)
    for number in (1, 2):
        scene.leader.receive_batch(make_batch(number, records=[make_record(n) for n in (1, 2)], runs=[(QUEUE, 0, 2)]))
    first = scene.leader.take_entry(scene.now_ms, 1)
    assert first is not None
    scene.leader.entry_refused()
    scene.run()
    assert scene.alive == [0, 1]
    scene.numbers[1] = 2
    scene.batch(settles=[(QUEUE, 0, 2)])
    scene.run()
    scene.publish_marked(3, [])
    assert scene.alive == [2, 3]


def test_a_key_is_known_to_the_next_leader_and_forgotten_in_time() -> None:
    scene = Timed(keys_max=10, keys_ttl_ms=100)
    scene.publish_marked(2, [(0, Mark.KEY, 7), (1, Mark.KEY, 7)])
    assert scene.alive == [0]
    scene.change_leader()
    scene.publish_marked(1, [(0, Mark.KEY, 7)])
    assert scene.alive == [0]
    scene.pass_time(100)
    scene.publish_marked(1, [(0, Mark.KEY, 7)])
    assert scene.alive == [0, 1]


def through_exchange(key: int, keys_max: int = 10, ttl_ms: int | None = None, slot: int = 0) -> Triples:
    return [(slot, Mark.KEY, key), (slot, Mark.MEMORY, pack_memory(keys_max, ttl_ms))]


def test_an_exchange_that_deduplicates_asks_it_of_queues_that_do_not() -> None:
    scene = Timed()
    scene.publish_marked(2, [*through_exchange(7), *through_exchange(7, slot=1)])
    assert scene.alive == [0]
    scene.change_leader()
    scene.publish_marked(1, through_exchange(7))
    scene.publish_marked(1, through_exchange(8))
    assert scene.alive == [0, 1]
    scene.publish_marked(1, [(0, Mark.KEY, 7)])
    assert scene.alive == [0, 1, 2]


def test_an_exchange_says_for_how_long_and_how_many_keys_are_remembered() -> None:
    scene = Timed()
    scene.publish_marked(1, through_exchange(1, ttl_ms=100))
    scene.pass_time(99)
    scene.publish_marked(1, through_exchange(1, ttl_ms=100))
    assert scene.alive == [0]
    scene.pass_time(1)
    scene.publish_marked(1, through_exchange(1, ttl_ms=100))
    assert scene.alive == [0, 1]
    for key in (2, 3):
        scene.publish_marked(1, through_exchange(key, keys_max=2))
    scene.publish_marked(1, through_exchange(3, keys_max=2))
    assert scene.alive == [0, 1, 2, 3]
    scene.publish_marked(1, through_exchange(1, keys_max=2))
    assert scene.alive == [0, 1, 2, 3, 4]


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
