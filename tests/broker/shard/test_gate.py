"""Publishes that are kept out, because a queue is full or knows their key; the next leader decides the same."""

from __future__ import annotations

import pytest

from cluster.broker.shard import keeper
from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.mark import Mark, pack_memory
from cluster.broker.shard.messages import RequestOp
from cluster.broker.shard.settings import Overflow
from tests.broker.shard.batches import Triples, make_batch
from tests.broker.shard.graves import make_record
from tests.broker.shard.scene import QUEUE
from tests.broker.shard.timed import Timed


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


def test_what_would_go_over_a_limit_of_bytes_is_refused_and_what_still_fits_is_let_in() -> None:
    scene = Timed(max_length_bytes=10, overflow=Overflow.REJECT)
    scene.publish_marked(4, [])
    scene.batch(runs=[(QUEUE, 0, 3)], records=[make_record(10**power) for power in (6, 5, 0)])
    scene.run()
    assert len(scene.alive) == 5
    assert [list(unpack_column("Q", pairs)) for _, pairs in scene.words[1].refused] == [[0, 1, 2, 1]]


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


def test_a_refused_publish_is_refused_again_by_the_next_leader() -> None:
    scene = Timed(max_length=1, overflow=Overflow.REJECT)
    scene.publish_marked(3, [])
    refused = scene.words[1].refused
    assert [(number, list(unpack_column("Q", pairs))) for number, pairs in refused] == [(1, [1, 2])]
    scene.change_leader()
    assert scene.words[1].receipt == (1, 1)
    assert scene.words[1].refused == refused
    assert scene.alive == [0]


def test_what_a_leader_kept_out_in_an_entry_that_never_came_to_be_is_judged_anew_by_the_next() -> None:
    """Its home node, which was the leader itself, sends the batch again as it was: else nobody knew of what was kept
    out, and it was confirmed."""
    scene = Timed(max_length=1, overflow=Overflow.REJECT)
    batch = make_batch(1, records=[make_record(n) for n in range(3)], runs=[(QUEUE, 0, 3)])
    scene.leader.receive_batch(batch)
    assert scene.leader.take_entry(scene.now_ms, 1 << 20) is not None
    scene.leader.entry_accepted()
    scene.change_leader()
    scene.numbers[1] = 1
    scene.leader.receive_batch(batch)
    scene.run()
    refused = scene.words[1].refused
    assert [(number, list(unpack_column("Q", pairs))) for number, pairs in refused] == [(1, [1, 2])]
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
