"""The home node's side of a shard: numbered batches, what is held, what is told to whom."""

from __future__ import annotations

from collections.abc import Callable

from cluster.broker.shard.entry import HEAVY_BATCH_BYTES, Batch
from cluster.broker.shard.messages import RequestOp, ToHome
from cluster.broker.shard.stream import ShardStream, StreamLimits
from tests.broker.shard.batches import Triples
from tests.broker.shard.naive import triples
from tests.broker.shard.streams import OTHER, QUEUE, Sink, deliver, make_stream, out, publish, reply


def runs(batch: Batch) -> Triples:
    return triples(batch.runs)


def test_what_came_before_a_large_message_does_not_share_its_batch() -> None:
    stream, sink = make_stream(), Sink()
    large = bytes(HEAVY_BATCH_BYTES)
    for first, record in ((0, b"a"), (1, large), (2, b"b")):
        stream.make_way(len(record))
        publish(stream, sink, first, record)
    assert [len(batch.payload) for batch in out(stream).batches] == [1, len(large), 1]


def test_answers_to_many_stretches_of_messages_go_in_several_batches() -> None:
    stream, sink = make_stream(), Sink()
    most = StreamLimits().batch_rows_max
    for seq in range(2 * most + 1):
        (stream.give_back, stream.settle, stream.reject)[seq % 3](QUEUE, 2 * seq, 1, sink)
    assert [batch.rows for batch in out(stream).batches] == [most, most, 1]


def test_publishes_gather_in_one_batch_and_neighbours_in_one_run() -> None:
    stream, sink = make_stream(), Sink()
    publish(stream, sink, 0, b"ab", b"c")
    publish(stream, sink, 2, b"d")
    publish(stream, sink, 3, b"e", queues=[OTHER, QUEUE])
    (batch,) = out(stream).batches
    assert (batch.node, batch.incarnation, batch.number) == (1, 3, 1)
    assert runs(batch) == [(QUEUE, 0, 3), (OTHER, 3, 1), (QUEUE, 3, 1)]
    assert batch.payload == b"abcde"
    stream.receive(ToHome(receipt=(3, 1)))
    assert sink.told == [("published", 0, 4, 5)]
    assert stream.quiet


def test_a_full_batch_is_closed_and_the_next_begins() -> None:
    stream, sink = make_stream(bytes_max=4), Sink()
    publish(stream, sink, 0, b"abcd")
    publish(stream, sink, 1, b"e")
    assert [b.payload for b in out(stream).batches] == [b"abcd", b"e"]


def test_no_more_batches_are_out_than_the_limit_and_the_rest_follows_receipts() -> None:
    stream, sink = make_stream(in_flight=1), Sink()
    publish(stream, sink, 0, b"a")
    assert [b.number for b in out(stream).batches] == [1]
    publish(stream, sink, 1, b"b")
    publish(stream, sink, 2, b"c")
    assert stream.take_out() is None
    stream.receive(ToHome(receipt=(3, 1)))
    assert [(b.number, b.payload) for b in out(stream).batches] == [(2, b"bc")]


def test_a_receipt_of_another_incarnation_is_none() -> None:
    stream, sink = make_stream(), Sink()
    publish(stream, sink, 0, b"a")
    out(stream)
    stream.receive(ToHome(receipt=(2, 1)))
    assert sink.told == []
    assert not stream.quiet


def test_a_delivery_to_who_has_left_goes_back_and_is_held_until_it_is_back() -> None:
    stream = make_stream()
    deliver(stream, 1, 0, 2)
    assert stream.holds(QUEUE, 0)
    (batch,) = out(stream).batches
    assert triples(batch.returns) == [(QUEUE, 0, 2)]
    stream.receive(ToHome(receipt=(3, 1)))
    assert not stream.holds(QUEUE, 0)


def test_a_message_that_comes_with_the_receipt_of_its_return_is_held_again() -> None:
    stream, sink = make_stream(), Sink()
    stream.join(QUEUE, sink)
    deliver(stream, 1, 0)
    stream.give_back(QUEUE, 0, 1, sink)
    out(stream)
    deliver(stream, 1, 0, receipt=1)
    assert stream.holds(QUEUE, 0)
    stream.give_back(QUEUE, 0, 1, sink)
    out(stream)
    request = stream.request(RequestOp.GET, QUEUE, (9,), lambda status, value: None)
    reply(stream, request, [0, True, bytes(4), b"", 0], receipt=2)
    assert stream.holds(QUEUE, 0)


def test_neighbouring_settles_and_returns_travel_as_one() -> None:
    stream, sink = make_stream(), Sink()
    for seq in range(3):
        stream.settle(QUEUE, seq, 1, sink)
        stream.give_back(QUEUE, 10 + seq, 1, sink)
    (batch,) = out(stream).batches
    assert triples(batch.settles) == [(QUEUE, 0, 3)]
    assert triples(batch.returns) == [(QUEUE, 10, 3)]
    stream.receive(ToHome(receipt=(3, 1)))
    assert sink.told == [("settled", 6)]


def test_a_forgotten_request_that_was_not_sent_is_not_sent() -> None:
    stream = make_stream()
    stream.forget_request(stream.request(RequestOp.GET, QUEUE, (9,), lambda status, value: None))
    assert stream.take_out() is None


def test_a_message_for_a_forgotten_basic_get_goes_back() -> None:
    stream = make_stream()
    request = stream.request(RequestOp.GET, QUEUE, (9,), lambda status, value: None)
    out(stream)
    stream.forget_request(request)
    reply(stream, request, [5, False, bytes(4), b"", 0])
    (batch,) = out(stream).batches
    assert triples(batch.returns) == [(QUEUE, 5, 1)]


def test_a_consumer_for_a_forgotten_consume_is_cancelled() -> None:
    stream = make_stream()
    request = stream.request(RequestOp.CONSUME, QUEUE, (4, 1, 1, 0), lambda status, value: None)
    out(stream)
    stream.forget_request(request)
    reply(stream, request, [0, 0])
    ((_, op, queue, args),) = out(stream).requests
    assert (op, queue, tuple(args)) == (RequestOp.CANCEL, QUEUE, (4,))


def test_a_consumer_whose_queue_is_gone_is_told_once() -> None:
    stream, sink = make_stream(), Sink()
    stream.join(QUEUE, sink)
    stream.receive(ToHome(cancelled=[1, 1]))
    assert sink.told == [("cancelled",)]
    assert stream.consumers == {}


def patient_stream() -> ShardStream:
    stream = ShardStream(shard=1, node=1, incarnation=3, limits=StreamLimits(settles_held_max=10))
    stream.leader_is(2, 1)
    out(stream)
    return stream


def test_a_settle_waits_for_a_publish_and_shares_its_batch() -> None:
    stream, sink = patient_stream(), Sink()
    stream.settle(QUEUE, 3, 1, sink)
    assert stream.take_out() is None
    assert stream.holds_settles
    assert not stream.quiet
    publish(stream, sink, 1, b"a")
    (batch,) = out(stream).batches
    assert triples(batch.settles) == [(QUEUE, 3, 1)]
    assert triples(batch.runs) == [(QUEUE, 0, 1)]
    assert not stream.holds_settles


def test_credit_does_not_wait_with_the_settle_that_it_comes_from() -> None:
    stream, sink = patient_stream(), Sink()
    stream.settle(QUEUE, 3, 1, sink)
    stream.credit(QUEUE, 1, 1, 0)
    words = out(stream)
    assert words.credits == [(QUEUE, 1, 1, 0)]
    assert not words.batches


def test_settles_wait_no_longer_when_they_are_hastened_or_many_or_something_is_asked() -> None:
    acts: list[Callable[[ShardStream], object]] = [
        lambda stream: stream.hasten(),
        lambda stream: stream.settle(QUEUE, 20, 9, Sink()),
        lambda stream: stream.request(RequestOp.INFO, QUEUE, (), lambda status, value: None),
        lambda stream: stream.give_back(QUEUE, 20, 1, Sink()),
        lambda stream: stream.reject(QUEUE, 20, 1, Sink()),
    ]
    for act in acts:
        stream = patient_stream()
        stream.settle(QUEUE, 3, 1, Sink())
        assert stream.take_out() is None
        act(stream)
        (batch,) = out(stream).batches
        assert triples(batch.settles)[0] == (QUEUE, 3, 1)


def test_a_settle_that_comes_after_a_batch_went_waits_again() -> None:
    stream = patient_stream()
    stream.settle(QUEUE, 3, 1, Sink())
    stream.hasten()
    out(stream)
    stream.settle(QUEUE, 4, 1, Sink())
    assert stream.take_out() is None
    stream.settle(QUEUE, 5, 9, Sink())
    assert triples(out(stream).batches[0].settles) == [(QUEUE, 4, 10)]


def test_large_batches_wait_while_so_many_bytes_are_out() -> None:
    stream, sink = make_stream(bytes_max=1), Sink()
    large = bytes(16 << 20)
    for first in range(3):
        publish(stream, sink, first, large)
    assert [batch.number for batch in out(stream).batches] == [1, 2]
    assert stream.take_out() is None
    stream.receive(ToHome(receipt=(3, 1)))
    assert [batch.number for batch in out(stream).batches] == [3]
