"""What is handed out to whom, scene by scene."""

from __future__ import annotations

from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from tests.broker.shard.scene import QUEUE, Scene


def test_a_message_goes_to_a_consumer_with_its_record() -> None:
    scene = Scene()
    scene.consume(1)
    scene.publish(b"abc", b"de")
    assert scene.deliveries() == [(1, QUEUE, 0, 2, False, bytes([3, 0, 0, 0, 2, 0, 0, 0]), b"abcde")]
    assert scene.words[1].receipt == (1, 1)


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
