"""The home node's side of a shard whose leader changes: what the next one is told and given again, what is refused."""

from __future__ import annotations

from cluster.broker.shard.messages import AttachedConsumer, RequestOp, ToHome
from tests.broker.shard.naive import triples
from tests.broker.shard.streams import OTHER, QUEUE, Sink, deliver, make_stream, out, publish, reply


def test_a_new_leader_gets_every_batch_without_receipt_again_unchanged() -> None:
    stream, sink = make_stream(), Sink()
    publish(stream, sink, 0, b"a")
    first = out(stream).batches
    stream.leader_lost(2)
    assert stream.take_out() is None
    publish(stream, sink, 1, b"b")
    stream.leader_is(3, 2)
    words = out(stream)
    assert words.attach == []
    assert [b.to_wire() for b in words.batches[:1]] == [b.to_wire() for b in first]
    assert [b.number for b in words.batches] == [1, 2]


def test_an_older_term_and_a_repeated_announcement_change_nothing() -> None:
    stream = make_stream()
    stream.leader_is(2, 1)
    stream.leader_is(3, 0)
    assert stream.leader == 2
    assert not stream.busy
    stream.leader_lost(2)
    stream.leader_is(2, 1)
    assert out(stream).attach == []


def test_a_leader_that_was_lost_is_not_the_one_that_leads_now() -> None:
    stream = make_stream()
    stream.leader_lost(9)
    assert stream.leader == 2


def test_an_attachment_tells_consumers_with_their_credit_and_what_they_hold() -> None:
    stream, sink = make_stream(), Sink()
    stream.join(QUEUE, sink)
    deliver(stream, 1, 0, 3)
    stream.settle(QUEUE, 0, 1, sink)
    stream.credit(QUEUE, 1, 1, 10)
    stream.leader_lost(2)
    stream.leader_is(3, 2)
    words = out(stream)
    told = AttachedConsumer(1, QUEUE, 5, 50, exclusive=True, holder=False, held=((0, 3),), served_end=3)
    assert words.attach == [told]
    assert words.credits == [], "the credit is in the attachment"
    stream.receive(ToHome(receipt=(3, 1)))
    stream.leader_lost(3)
    stream.leader_is(2, 3)
    attached = out(stream).attach
    assert attached is not None
    assert attached[0].held == ((1, 3),)


def test_a_consumer_that_left_still_holds_what_it_has_not_answered() -> None:
    stream, sink = make_stream(), Sink()
    stream.join(QUEUE, sink)
    deliver(stream, 1, 0)
    stream.leave(sink)
    stream.leader_lost(2)
    stream.leader_is(3, 2)
    assert out(stream).attach == [AttachedConsumer(1, QUEUE, 0, 0, exclusive=False, holder=True, held=((0, 1),))]


def test_one_holder_may_hold_messages_of_several_queues() -> None:
    stream, holder = make_stream(), Sink(4)
    stream.hold(QUEUE, 3, 1, holder)
    stream.hold(OTHER, 3, 1, holder)
    stream.leader_lost(2)
    stream.leader_is(3, 2)
    attached = out(stream).attach
    assert attached is not None
    assert [(c.queue, c.held) for c in attached] == [(QUEUE, ((3, 4),)), (OTHER, ((3, 4),))]


def test_a_request_is_repeated_to_a_new_leader_until_it_is_answered() -> None:
    stream = make_stream()
    heard: list[object] = []
    request = stream.request(RequestOp.INFO, QUEUE, (), lambda status, value: heard.append(value))
    assert out(stream).requests == [(request, RequestOp.INFO, QUEUE, ())]
    stream.leader_lost(2)
    stream.leader_is(3, 2)
    assert out(stream).requests == [(request, RequestOp.INFO, QUEUE, ())]
    reply(stream, request, [1, 2, 3])
    reply(stream, request, [4, 5, 6])
    assert heard == [[1, 2, 3]]


def test_publishes_that_no_leader_was_given_are_refused_and_what_one_was_given_is_not() -> None:
    stream, sink = make_stream(in_flight=1, bytes_max=3), Sink()
    publish(stream, sink, 0, b"abc")
    out(stream)
    stream.leader_lost(2)
    publish(stream, sink, 1, b"def")
    publish(stream, sink, 2, b"g")
    stream.settle(QUEUE, 0, 1, sink)
    assert stream.unsent
    stream.refuse_unsent()
    stream.refuse_unsent()
    assert not stream.unsent
    assert sink.told == [("refused", 1, 1, 3), ("refused", 2, 1, 1)]
    stream.leader_is(3, 2)
    batches = out(stream).batches
    stream.receive(ToHome(receipt=(3, 1)))
    batches += out(stream).batches
    assert [(b.number, b.payload) for b in batches] == [(1, b"abc"), (2, b"")]
    assert triples(batches[-1].settles) == [(QUEUE, 0, 1)]


def test_a_transaction_is_kept_for_the_next_leader_as_a_whole_and_not_refused() -> None:
    stream, sink = make_stream(), Sink()
    stream.hold_together()
    publish(stream, sink, 0, b"abc")
    stream.settle(QUEUE, 0, 1, sink)
    stream.let_go()
    stream.refuse_unsent()
    assert not stream.unsent
    assert sink.told == []
    publish(stream, sink, 1, b"def")
    stream.refuse_unsent()
    assert sink.told == [("refused", 1, 1, 3)]
    stream.leader_is(3, 2)
    batches = out(stream).batches
    assert [(b.number, b.payload) for b in batches] == [(1, b"abc")]
    assert triples(batches[0].settles) == [(QUEUE, 0, 1)]


def test_who_publishes_beside_a_transaction_is_refused_all_the_same() -> None:
    stream, sink = make_stream(), Sink()
    publish(stream, sink, 0, b"before")
    for number in (1, 2):
        stream.hold_together()
        publish(stream, sink, number, b"abc")
        stream.let_go()
    publish(stream, sink, 3, b"after")
    stream.refuse_unsent()
    assert sink.told == [("refused", 0, 1, 6), ("refused", 3, 1, 5)]
    stream.leader_is(3, 2)
    batches = out(stream).batches
    assert [(b.number, b.payload) for b in batches] == [(1, b"abcabc")]
    publish(stream, sink, 4, b"next")
    assert [(b.number, b.payload) for b in out(stream).batches] == [(2, b"next")]


def test_a_new_leader_is_told_up_to_where_a_consumer_was_served() -> None:
    stream, sink = make_stream(), Sink()
    stream.join(QUEUE, sink)
    deliver(stream, 1, 7, 2)
    deliver(stream, 1, 3)
    stream.leader_lost(2)
    stream.leader_is(3, 2)
    assert [consumer.served_end for consumer in out(stream).attach or ()] == [9]


def test_a_stream_without_room_attaches_with_what_was_under_way_and_its_other_batches_follow_in_order() -> None:
    stream, sink = make_stream(bytes_max=1), Sink()
    publish(stream, sink, 0, b"a")
    assert [batch.number for batch in out(stream).batches] == [1]
    publish(stream, sink, 1, b"b")
    stream.leader_lost(2)
    stream.leader_is(3, 2)
    words = stream.take_out(has_room=False)
    assert words is not None
    assert words.attach == []
    assert [batch.number for batch in words.batches] == [1]
    assert stream.take_out(has_room=False) is None
    assert [batch.number for batch in out(stream).batches] == [2]
    stream.receive(ToHome(receipt=(3, 2)))
    assert sink.told == [("published", 0, 1, 1), ("published", 1, 1, 1)]
    assert stream.quiet
