"""Channels: opening, closing from either side, what reaches the broker, and content."""

from __future__ import annotations

import pytest

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.errors import ChannelException, ConnectionException, not_found
from cluster.amqp.method import Method
from cluster.amqp.properties import BasicProperties, decode_header, encode_header
from cluster.amqp.settings import ConnectionSettings
from tests.amqp.client import Sent, frame, method, publish, running, sent, split_frames

NO_QUEUE = not_found("no queue 'nope' in vhost '/'", 50, 10)
CHANNEL_CLOSE = m.ChannelClose(404, "NOT_FOUND - no queue 'nope' in vhost '/'", 50, 10)
CLIENT_CLOSE = m.ChannelClose(200, "done", 0, 0)


def test_open_is_answered_with_open_ok() -> None:
    connection = running()
    assert connection.receive(method(5, m.ChannelOpen())) == [ev.ChannelOpened(5)]
    assert sent(connection) == [Sent(5, m.ChannelOpenOk())]
    assert connection.may_send(5)
    assert not connection.may_send(6)


def test_the_clients_close_is_answered_when_the_broker_has_flushed() -> None:
    connection = running(1)
    assert connection.receive(method(1, CLIENT_CLOSE)) == [ev.ChannelClosed(1, 200, "done")]
    assert connection.receive(publish(1) + method(1, m.BasicAck(1, False))) == []
    connection.send(1, m.BasicAck(7, True))
    connection.close_channel_ok(1)
    connection.close_channel_ok(1)
    connection.send(1, m.BasicAck(8, True))
    assert sent(connection) == [Sent(1, m.BasicAck(7, True)), Sent(1, m.ChannelCloseOk())]
    assert connection.receive(method(1, m.ChannelOpen())) == [ev.ChannelOpened(1)]


def test_a_channel_opened_again_before_its_close_is_answered_is_504() -> None:
    connection = running(1)
    connection.receive(method(1, CLIENT_CLOSE))
    connection.receive(method(1, m.ChannelOpen()))
    text = "CHANNEL_ERROR - second 'channel.open' seen"
    assert sent(connection) == [Sent(0, m.ConnectionClose(504, text, 20, 10))]


def test_flow_off_is_540() -> None:
    connection = running(1)
    error = ConnectionException(540, "NOT_IMPLEMENTED - active=false", 20, 20)
    assert connection.receive(method(1, m.ChannelFlow(False))) == [ev.ConnectionFailed(error)]
    assert sent(connection) == [Sent(0, m.ConnectionClose(540, "NOT_IMPLEMENTED - active=false", 20, 20))]


@pytest.mark.parametrize(
    "value",
    [
        m.ChannelFlow(True),
        m.ChannelFlowOk(True),
        m.AccessRequest("/data", False, False, True, True, True),
        m.ExchangeDeclare("x", "topic", False, True, False, False, False, {"alternate-exchange": "y"}),
        m.ExchangeDelete("x", True, False),
        m.ExchangeBind("to", "from", "key", False, {}),
        m.ExchangeUnbind("to", "from", "key", True, {}),
        m.QueueDeclare("q", False, True, False, False, False, {"x-max-length": 5}),
        m.QueueBind("q", "x", "key", False, {}),
        m.QueuePurge("q", False),
        m.QueueDelete("q", False, True, False),
        m.QueueUnbind("q", "x", "key", {}),
        m.BasicQos(0, 300, True),
        m.BasicConsume("q", "ctag", False, True, False, False, {}),
        m.BasicCancel("ctag", False),
        m.BasicCancelOk("ctag"),
        m.BasicGet("q", True),
        m.BasicAck(3, True),
        m.BasicReject(3, True),
        m.BasicNack(3, True, False),
        m.BasicRecover(True),
        m.BasicRecoverAsync(True),
        m.ConfirmSelect(False),
        m.TxSelect(),
        m.TxCommit(),
        m.TxRollback(),
    ],
)
def test_every_method_a_client_may_send_reaches_the_broker(value: Method) -> None:
    connection = running(1)
    assert connection.receive(method(1, value)) == [ev.MethodReceived(1, value)]
    assert not connection.has_output


# Closed by us.


def test_after_a_channel_error_the_channel_is_deaf_until_close_ok() -> None:
    connection = running(1, 2)
    connection.channel_error(1, NO_QUEUE)
    connection.channel_error(1, NO_QUEUE)
    connection.send(1, m.BasicQosOk())
    assert sent(connection) == [Sent(1, CHANNEL_CLOSE)]
    assert not connection.may_send(1)
    ignored = publish(1) + method(1, m.BasicAck(1, False)) + method(1, m.ChannelOpen()) + method(1, m.TxSelect())
    assert connection.receive(ignored + method(2, m.TxSelect())) == [ev.MethodReceived(2, m.TxSelect())]
    assert connection.receive(method(1, m.ChannelCloseOk()) + method(1, m.ChannelOpen())) == [ev.ChannelOpened(1)]


def test_a_channel_error_in_the_middle_of_content_forgets_the_content() -> None:
    connection = running(1)
    octets = publish(1, b"0123456789")
    connection.receive(octets[:-5])
    connection.channel_error(1, NO_QUEUE)
    assert connection.receive(octets[-5:] + method(1, m.ChannelCloseOk()) + method(1, m.ChannelOpen())) == [
        ev.ChannelOpened(1)
    ]
    [batch] = connection.receive(publish(1, b"new"))
    assert isinstance(batch, ev.PublishBatch)
    assert batch.bodies == [b"new"]


def test_a_close_that_crosses_ours_is_answered_and_both_count() -> None:
    connection = running(1)
    connection.channel_error(1, NO_QUEUE)
    assert connection.receive(method(1, CLIENT_CLOSE)) == []
    assert sent(connection) == [Sent(1, CHANNEL_CLOSE), Sent(1, m.ChannelCloseOk())]
    assert connection.receive(method(1, m.ChannelCloseOk()) + method(1, m.ChannelOpen())) == [ev.ChannelOpened(1)]


def test_after_crossing_closes_the_client_may_open_the_channel_without_close_ok() -> None:
    connection = running(1)
    connection.channel_error(1, NO_QUEUE)
    assert connection.receive(method(1, CLIENT_CLOSE) + method(1, m.ChannelOpen())) == [ev.ChannelOpened(1)]


def test_an_error_after_the_clients_close_is_still_told_and_the_close_answered() -> None:
    connection = running(1)
    connection.receive(method(1, CLIENT_CLOSE))
    connection.channel_error(1, NO_QUEUE)
    connection.close_channel_ok(1)
    assert sent(connection) == [Sent(1, CHANNEL_CLOSE), Sent(1, m.ChannelCloseOk())]


def test_commands_for_a_channel_that_is_not_there_do_nothing() -> None:
    connection = running()
    connection.send(1, m.BasicQosOk())
    connection.channel_error(1, NO_QUEUE)
    connection.close_channel_ok(1)
    connection.content(1, b"", b"", b"")
    assert not connection.has_output


# Content from the client.


def test_a_message_above_the_limit_is_406_as_soon_as_its_header_comes_and_its_body_is_skipped() -> None:
    connection = running(1, settings=ConnectionSettings(message_size_max=1000))
    octets = publish(1, bytes(1001))
    header_end = len(octets) - 1001 - 8
    text = "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000"
    error = ChannelException(406, text, 60, 40)
    assert connection.receive(octets[:header_end]) == [ev.ChannelFailed(1, error)]
    assert sent(connection) == [Sent(1, m.ChannelClose(406, text, 60, 40))]
    assert connection.receive(octets[header_end:]) == []
    assert connection.receive(method(1, m.ChannelCloseOk()) + method(1, m.ChannelOpen())) == [ev.ChannelOpened(1)]
    [batch] = connection.receive(publish(1, bytes(1000)))
    assert isinstance(batch, ev.PublishBatch)


def test_the_limit_may_become_another_and_what_has_begun_may_be_larger() -> None:
    connection = running(1, settings=ConnectionSettings(message_size_max=1000))
    connection.receive(publish(1, bytes(900)))
    octets = publish(1, bytes(1000))
    connection.receive(octets[:-500])
    connection.limit_messages(800)
    [batch] = connection.receive(octets[-500:])
    assert isinstance(batch, ev.PublishBatch)
    text = "PRECONDITION_FAILED - message size 900 is larger than configured max size 800"
    [failed] = connection.receive(publish(1, bytes(900)))
    assert failed == ev.ChannelFailed(1, ChannelException(406, text, 60, 40))
    connection.receive(method(1, m.ChannelCloseOk()) + method(1, m.ChannelOpen()))
    connection.limit_messages(900)
    [batch] = connection.receive(publish(1, bytes(900)))
    assert isinstance(batch, ev.PublishBatch)


def test_the_largest_size_a_header_can_announce_is_refused_like_any_other() -> None:
    connection = running(1)
    header = encode_header(2**64 - 1, BasicProperties())
    connection.receive(method(1, m.BasicPublish("", "q", False, False)) + frame(2, 1, header))
    text = "PRECONDITION_FAILED - message size 18446744073709551615 is larger than configured max size 134217728"
    assert sent(connection) == [Sent(1, m.ChannelClose(406, text, 60, 40))]


def test_a_message_without_body_is_complete_with_its_header() -> None:
    connection = running(1)
    octets = publish(1, b"")
    [batch] = connection.receive(octets + octets + octets[:-1])
    assert isinstance(batch, ev.PublishBatch)
    assert batch.bodies == [b"", b""]
    assert connection.receive(octets[-1:]) == [ev.PublishBatch(1, batch.methods[:1], batch.headers[:1], [b""])]


def test_a_body_may_come_in_many_frames_some_of_them_empty() -> None:
    connection = running(1)
    start = method(1, m.BasicPublish("", "q", True, False)) + frame(2, 1, encode_header(5000, BasicProperties()))
    body = bytes(range(250)) * 20
    parts = [frame(3, 1, b"") + frame(3, 1, body[position : position + 1]) for position in range(5000)]
    [batch] = connection.receive(start + b"".join(parts))
    assert isinstance(batch, ev.PublishBatch)
    assert batch.bodies == [body]
    assert m.BasicPublish.decode(batch.methods[0]) == m.BasicPublish("", "q", True, False)
    assert decode_header(batch.headers[0]).body_size == 5000


def test_contents_of_two_channels_may_interleave() -> None:
    connection = running(1, 2)
    one = split_frames(publish(1, b"first"))
    two = split_frames(publish(2, b"second"))
    mixed = b"".join(frame(*part) for pair in zip(one, two, strict=True) for part in pair)
    events = connection.receive(mixed)
    assert [(event.channel, event.bodies) for event in events if isinstance(event, ev.PublishBatch)] == [
        (1, [b"first"]),
        (2, [b"second"]),
    ]


def test_unfinished_content_of_all_channels_together_is_bounded() -> None:
    settings = ConnectionSettings(message_size_max=1000, unfinished_content_max=1500)
    connection = running(1, 2, settings=settings)

    def unfinished(channel: int) -> bytes:
        start = method(channel, m.BasicPublish("", "q", False, False))
        return start + frame(2, channel, encode_header(1000, BasicProperties())) + frame(3, channel, bytes(800))

    for _ in range(3):  # what is finished or abandoned counts no more
        assert connection.receive(unfinished(1)) == []
        assert len(connection.receive(frame(3, 1, bytes(200)))) == 1
        assert connection.receive(unfinished(2)) == []
        connection.channel_error(2, NO_QUEUE)
        connection.receive(method(2, m.ChannelCloseOk()) + method(2, m.ChannelOpen()))
    connection.take_output()
    assert connection.receive(unfinished(1)) == []
    text = "RESOURCE_ERROR - more than 1500 octets of unfinished content on the connection"
    error = ConnectionException(506, text, 60, 40)
    assert connection.receive(unfinished(2)) == [ev.ConnectionFailed(error)]
    assert sent(connection) == [Sent(0, m.ConnectionClose(506, text, 60, 40))]


# Content to the client.


@pytest.mark.parametrize(("size", "frames"), [(0, 0), (1, 1), (4088, 1), (4089, 2), (10000, 3)])
def test_content_is_cut_at_frame_max(size: int, frames: int) -> None:
    connection = running(1, tune_ok=m.ConnectionTuneOk(10, 4096, 0))
    body = bytes(index % 251 for index in range(size))
    value = m.BasicReturn(312, "NO_ROUTE", "x", "key")
    header = encode_header(size, BasicProperties(delivery_mode=1))
    connection.content(1, value.encode(), header, memoryview(body))
    parts = split_frames(b"".join(connection.take_output()))
    assert parts[:2] == [(1, 1, value.encode()), (2, 1, header)]
    assert [part[:2] for part in parts[2:]] == [(3, 1)] * frames
    assert b"".join(part[2] for part in parts[2:]) == body
    assert all(len(part[2]) <= 4088 for part in parts)
