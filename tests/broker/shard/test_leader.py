"""The leader of a shard, scene by scene. `Scene` is a log that commits at once, and words as they are."""

from __future__ import annotations

import pytest

from cluster.broker.shard import proposals
from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.desk import CLOSED_MS
from cluster.broker.shard.entry import HEAVY_BATCH_BYTES, Batch, QueueId
from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from cluster.broker.shard.messages import AttachedConsumer, Delivery, Reply, ReplyStatus, RequestOp, ToHome
from cluster.broker.shard.state import ShardState
from tests.broker.shard.batches import Triples, make_batch

QUEUE = QueueId(7)
WINDOW = 10**6
DEFAULT_LIMITS = LeaderLimits()


class Scene:
    """A leader whose home nodes 1 and 2 have attached with nothing."""

    def __init__(self, *, attach: bool = True, limits: LeaderLimits = DEFAULT_LIMITS) -> None:
        self.state = ShardState()
        self.entries: dict[int, bytes] = {}
        self.deleted: set[QueueId] = set()
        self.limits = limits
        self.numbers: dict[int, int] = {}
        self.requests = 0
        self.words: dict[int, ToHome] = {}
        self.new_leader()
        if attach:
            self.leader.attach(1, [])
            self.leader.attach(2, [])
            self.leader.all_attached()

    def new_leader(self) -> None:
        self.leader = ShardLeader(self.state, self.entries.__getitem__, self.limits, self.deleted.__contains__)

    def batch(
        self,
        node: int = 1,
        *,
        records: list[bytes] | None = None,
        runs: Triples | None = None,
        settles: Triples | None = None,
        returns: Triples | None = None,
    ) -> Batch:
        """Hand the next batch of a node to the leader."""
        self.numbers[node] = self.numbers.get(node, 0) + 1
        batch = make_batch(self.numbers[node], node=node, records=records, runs=runs, settles=settles, returns=returns)
        self.leader.receive_batch(batch)
        return batch

    def publish(self, *records: bytes, node: int = 1) -> None:
        self.batch(node, records=list(records), runs=[(QUEUE, 0, len(records))])
        self.run()

    def append(self, bytes_max: int = WINDOW) -> None:
        """One entry into the log, and applied."""
        data = self.leader.take_entry(0, bytes_max)
        assert data is not None
        self.leader.entry_accepted()
        index = self.state.applied_index + 1
        self.entries[index] = data
        self.leader.applied(self.state.apply(index, data), data)

    def run(self) -> None:
        """Until nothing is left to propose; what was said last is in `words`."""
        self.words = {}
        while True:
            for node, words in self.leader.take_out().items():
                told = self.words.setdefault(node, ToHome())
                told.receipt = words.receipt or told.receipt
                told.refused = words.refused or told.refused
                told.replies += words.replies
                told.deliveries += words.deliveries
                told.cancelled += words.cancelled
            if not self.leader.wants_entry:
                return
            self.append()

    def ask(self, op: RequestOp, *args: int, node: int = 1, queue: QueueId = QUEUE) -> int:
        self.requests += 1
        self.leader.request(node, self.requests, op, queue, args)
        return self.requests

    def consume(
        self, consumer: int, *, node: int = 1, credit: int = 100, size: int = WINDOW, exclusive: int = 0
    ) -> int:
        request = self.ask(RequestOp.CONSUME, consumer, credit, size, exclusive, node=node)
        self.run()
        return request

    def deliveries(self, node: int = 1) -> list[Delivery]:
        return self.words[node].deliveries if node in self.words else []

    def seqs(self, node: int = 1) -> list[tuple[int, int, int]]:
        """(consumer, seq, redelivered) in the order of delivery."""
        return [(c, s, r) for c, _, first, n, r, _, _ in self.deliveries(node) for s in range(first, first + n)]

    def replies(self, node: int = 1) -> list[Reply]:
        return self.words[node].replies if node in self.words else []


def holding(consumer: int, *held: tuple[int, int], credit: int = 0, holder: bool = False) -> AttachedConsumer:
    return AttachedConsumer(consumer, QUEUE, credit, WINDOW, exclusive=False, holder=holder, held=held)


def test_a_message_goes_to_a_consumer_with_its_record() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"abc", b"de")
    assert scene.deliveries() == [(1, QUEUE, 0, 2, False, bytes([3, 0, 0, 0, 2, 0, 0, 0]), b"abcde")]
    assert scene.words[1].receipt == (1, 1)


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


def test_a_consumer_gets_no_more_messages_than_its_credit() -> None:
    scene = Scene()
    scene.consume(1, credit=2)
    scene.publish(b"a", b"b", b"c")
    assert [s for _, s, _ in scene.seqs()] == [0, 1]
    scene.leader.credit(1, QUEUE, 1, 1, 0)
    scene.run()
    assert [s for _, s, _ in scene.seqs()] == [2]


def test_what_does_not_fit_a_consumers_bytes_is_not_overtaken_by_what_does() -> None:
    scene = Scene()
    scene.publish(b"a" * 10, b"b" * 10, b"c" * 10, b"d", b"e")
    scene.batch(settles=[(QUEUE, 3, 1)])
    scene.run()
    scene.consume(1, size=15)
    assert [s for _, s, _ in scene.seqs()] == [0, 1]
    scene.leader.credit(1, QUEUE, 1, 0, 6)
    scene.run()
    assert [s for _, s, _ in scene.seqs()] == [2]


def test_a_consumer_with_bytes_left_gets_one_message_however_large() -> None:
    scene = Scene()
    scene.consume(1, size=1)
    scene.publish(b"a" * 100, b"b")
    assert [s for _, s, _ in scene.seqs()] == [0]


def test_consumers_share_what_is_ready() -> None:
    scene = Scene()
    scene.consume(1)
    scene.consume(2)
    scene.publish(*[b"x"] * 10)
    assert sorted(c for c, _, _ in scene.seqs()) == [1] * 5 + [2] * 5


def test_a_returned_message_comes_back_before_later_ones_and_says_so() -> None:
    scene = Scene()
    scene.consume(1, credit=2)
    scene.publish(b"a", b"b", b"c")
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.leader.credit(1, QUEUE, 1, 2, 0)
    scene.append()
    scene.run()
    assert scene.seqs() == [(1, 0, True), (1, 2, False)]


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


def test_replies_to_a_node_that_was_lost_are_not_said_to_its_next_incarnation() -> None:
    scene = Scene()
    scene.ask(RequestOp.INFO)
    scene.leader.node_lost(1)
    scene.leader.attach(1, [])
    scene.run()
    assert scene.replies() == []


def test_a_backlog_is_read_from_the_log_when_the_cache_is_small() -> None:
    scene = Scene(limits=LeaderLimits(payload_cache_bytes=1, hot_backlog_max=0))
    for number in range(5):
        scene.publish(b"%d" % number)
    scene.consume(1)
    assert b"".join(records for *_, records in scene.deliveries()) == b"01234"


def test_a_deep_backlog_is_handed_out_behind_a_rising_watermark() -> None:
    scene = Scene()
    scene.publish(*[b"x"] * 5000)
    scene.consume(1, credit=5000)
    assert [s for _, s, _ in scene.seqs()] == list(range(5000))
    assert not any(redelivered for _, _, redelivered in scene.seqs())
    assert scene.state.queues[QUEUE].watermark == 5000


def test_a_node_whose_link_is_full_waits_and_the_others_are_served() -> None:
    scene = Scene()
    full = {1}
    scene.leader = ShardLeader(
        scene.state, scene.entries.__getitem__, scene.limits, scene.deleted.__contains__, is_full=full.__contains__
    )
    scene.leader.attach(1, [])
    scene.leader.attach(2, [])
    scene.leader.all_attached()
    scene.consume(1, node=1, credit=1)
    scene.consume(2, node=2, credit=1)
    scene.publish(b"a", b"b")
    assert scene.seqs(1) == []
    assert scene.seqs(2) == [(2, 0, 0)]
    assert scene.leader.has_more
    full.clear()
    scene.run()
    assert scene.seqs(1) == [(1, 1, 0)]
    assert not scene.leader.has_more


def test_words_for_one_node_are_bounded_and_the_rest_follows() -> None:
    scene = Scene()
    record = bytes(5 << 20)
    for consumer in (1, 2, 3):
        scene.consume(consumer, credit=1)
    scene.batch(records=[record, record, record], runs=[(QUEUE, 0, 3)])
    scene.append(16 << 20)
    (first,) = [words.deliveries for words in scene.leader.take_out().values()]
    assert [delivery[0] for delivery in first] == [1, 2]
    assert scene.leader.has_more
    (second,) = [words.deliveries for words in scene.leader.take_out().values()]
    assert [(delivery[0], len(delivery[6])) for delivery in second] == [(3, len(record))]
    assert not scene.leader.has_more
