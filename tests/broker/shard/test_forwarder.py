"""How a shard's post finds its way, word by word; what breaks on the way is in dying.py."""

from __future__ import annotations

from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.dead_letters import open_post, outbox
from cluster.broker.shard.entry import NO_OPS, SHARD_SESSIONS, Batch, QueueId, encode_entry
from cluster.broker.shard.forwarder import AGAIN_MS, Forwarder
from cluster.broker.shard.leader import ShardLeader
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.settings import Overflow, QueueSettings
from cluster.broker.shard.state import ShardState
from cluster.broker.shard.surroundings import Nothing
from tests.broker.shard.batches import make_batch

TARGET, QUEUE = 3, QueueId(31)


class Post:
    """A shard whose outbox for `TARGET` holds `count` messages for `QUEUE`."""

    def __init__(self, count: int, incarnation: int = 1) -> None:
        self.state = ShardState()
        records = [int(QUEUE).to_bytes(8, "big") + bytes([n % 3]) + b"%d" % n for n in range(count)]
        assert open_post(records[0]) == (QUEUE, 0, b"0")
        data = encode_entry(0, [make_batch(1, records=records, runs=[(outbox(TARGET), 0, count)])], NO_OPS)
        self.state.apply(1, data)
        payloads = PayloadCache(lambda _: data, 10**6)
        self.forwarder = Forwarder(shard=7, incarnation=incarnation, state=self.state, payloads=payloads)

    def stretch(self, now_ms: int) -> Batch:
        ((target, session, _, batch),) = self.forwarder.words(now_ms)
        assert (target, session) == (TARGET, SHARD_SESSIONS + 7)
        assert batch is not None
        return batch


def test_a_new_leader_asks_first_and_goes_on_from_the_answer() -> None:
    post = Post(5)
    assert post.forwarder.words(0) == [(TARGET, SHARD_SESSIONS + 7, 1, None)]
    assert post.forwarder.words(1) == [], "one question at a time"
    assert post.forwarder.receipt(TARGET, 1, 2) == (outbox(TARGET), 0, 2)
    batch = post.stretch(2)
    assert (batch.number, batch.payload) == (5, b"234")
    assert list(unpack_column("Q", batch.runs)) == [QUEUE, 0, 3]
    assert list(unpack_column("Q", batch.marks)) == [0, 2, 2, 2, 2, 1], "priorities of messages 2 and 4"


def test_what_is_not_answered_is_said_again() -> None:
    post = Post(2)
    post.forwarder.words(0)
    assert post.forwarder.words(AGAIN_MS) == [(TARGET, SHARD_SESSIONS + 7, 1, None)]
    post.forwarder.receipt(TARGET, 0, 0)
    first = post.stretch(AGAIN_MS)
    assert post.forwarder.words(AGAIN_MS + 1) == []
    assert post.stretch(2 * AGAIN_MS).to_wire() == first.to_wire()


def test_a_target_that_knows_an_earlier_life_of_the_shard_has_nothing_of_this_one() -> None:
    post = Post(2, incarnation=5)
    post.forwarder.words(0)
    assert post.forwarder.receipt(TARGET, 4, 57) is None
    assert post.stretch(1).number == 2
    assert post.forwarder.receipt(TARGET, 6, 57) is None, "and a later life is not this one either"


def test_nothing_is_said_when_nothing_is_left() -> None:
    post = Post(2)
    post.forwarder.words(0)
    settle = post.forwarder.receipt(TARGET, 1, 2)
    assert settle == (outbox(TARGET), 0, 2)
    post.state.queues[outbox(TARGET)].settle(0, 2)
    assert post.forwarder.words(AGAIN_MS) == []
    assert not post.forwarder


def test_post_gets_into_a_queue_that_is_full_and_refuses_publishes() -> None:
    class Full(Nothing):
        def settings(self, queue: QueueId) -> QueueSettings:
            return QueueSettings("full", max_length=1, overflow=Overflow.REJECT)

    state = ShardState()
    leader = ShardLeader(state, lambda index: b"", surroundings=Full())
    publish = make_batch(1, records=[b"a", b"b"], runs=[(QUEUE, 0, 2)])
    post = make_batch(2, node=SHARD_SESSIONS + 7, records=[b"c", b"d"], runs=[(QUEUE, 0, 2)])
    leader.receive_batch(publish)
    leader.receive_post(SHARD_SESSIONS + 7, post)
    data = leader.take_entry(0, 10**6)
    assert data is not None
    assert state.apply(1, data).enqueued == [(QUEUE, 0, 1), (QUEUE, 1, 3)]
    assert list(state.refusals) == [1], "of the publishes one"


def test_post_for_queues_that_are_no_more_is_given_up_in_order() -> None:
    post = Post(3)
    post.forwarder.words(0)
    assert post.forwarder.forsaken(lambda _: False) == []
    assert post.forwarder.forsaken(lambda _: True) == [(outbox(TARGET), 0, 3)]
