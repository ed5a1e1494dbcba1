"""Framing errors: one test a line of the measured table, with code, scope and the whole text.

Every one of them closes the connection. Where RabbitMQ drops the socket or stays silent, a close is sent.
"""

from __future__ import annotations

import pytest

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.connection import ServerConnection
from cluster.amqp.errors import ConnectionException
from cluster.amqp.method import Method
from cluster.amqp.properties import BasicProperties
from tests.amqp.client import Sent, frame, method, publish, running, sent, starting

OPEN_PUBLISH = method(1, m.BasicPublish("", "q", False, False))


def content_header(class_id: int = 60, weight: int = 0, body_size: int = 5) -> bytes:
    payload = class_id.to_bytes(2) + weight.to_bytes(2) + body_size.to_bytes(8) + b"\x00\x00"
    return frame(2, 1, payload)


def assert_closed(
    connection: ServerConnection, octets: bytes, code: int, text: str, class_id: int = 0, method_id: int = 0
) -> None:
    """`octets` close the connection, at once and once, and the client's close-ok ends it."""
    error = ConnectionException(code, text, class_id, method_id)
    events = connection.receive(octets)
    assert events[-1] == ev.ConnectionFailed(error)
    assert sent(connection) == [Sent(0, m.ConnectionClose(code, text, class_id, method_id))]
    assert connection.receive(method(0, m.ConnectionCloseOk())) == [ev.ConnectionClosed(error, abrupt=False)]
    assert not connection.has_output


def test_a_bad_frame_end_is_501() -> None:
    text = "FRAME_ERROR - type 1, all octets = <<0,20,0,10>>: {invalid_frame_end_marker,0}"
    assert_closed(running(), frame(1, 1, b"\x00\x14\x00\x0a", end=0), 501, text)


def test_a_bad_frame_end_behind_a_long_payload_shows_its_first_16_octets() -> None:
    text = (
        "FRAME_ERROR - type 3, first 16 octets = <<0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15>>: "
        "{invalid_frame_end_marker,207}"
    )
    assert_closed(running(1), frame(3, 1, bytes(range(40)), end=207), 501, text)


def test_a_printable_payload_is_shown_as_erlang_shows_it() -> None:
    text = 'FRAME_ERROR - type 3, all octets = <<"say \\"hi\\"">>: {invalid_frame_end_marker,0}'
    assert_closed(running(1), frame(3, 1, b'say "hi"', end=0), 501, text)


def test_a_frame_above_frame_max_is_501_as_soon_as_its_size_is_known() -> None:
    connection = running(1)
    text = "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064}"
    error = ConnectionException(501, text)
    assert connection.receive(frame(3, 1, bytes(200000))[:7]) == [ev.ConnectionFailed(error)]
    assert sent(connection) == [Sent(0, m.ConnectionClose(501, text, 0, 0))]


def test_every_frame_of_a_publish_is_held_to_frame_max_also_when_all_of_it_comes_at_once() -> None:
    small = m.ConnectionTuneOk(2047, 4096, 60)
    body = publish(1, bytes(4097))
    text = "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}"
    assert_closed(running(1, tune_ok=small), body, 501, text)
    header = publish(1, b"abc", properties=BasicProperties(headers={"k": "x" * 4100}))
    text = "FRAME_ERROR - type 2, all octets = <<>>: {frame_too_large,4125,4088}"
    assert_closed(running(1, tune_ok=small), header, 501, text)


def test_the_close_ok_behind_a_frame_above_frame_max_is_still_understood() -> None:
    text = "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064}"
    assert_closed(running(1), frame(3, 1, bytes(200000)), 501, text)


def test_an_unknown_frame_type_is_501() -> None:
    assert_closed(running(1), frame(9, 1, b""), 501, "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame")
    assert_closed(running(), frame(9, 0, b""), 501, "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame")


def test_truncated_arguments_are_501() -> None:
    payload = b"\x00\x32\x00\x0a\x00"
    assert_closed(running(1), frame(1, 1, payload), 501, "FRAME_ERROR - cannot decode <<0>>", 50, 10)


def test_a_truncated_publish_is_501() -> None:
    payload = b"\x00\x3c\x00\x28\x00\x00\x05ab"
    assert_closed(running(1), frame(1, 1, payload), 501, "FRAME_ERROR - cannot decode <<0,0,5,97,98>>", 60, 40)


def test_octets_behind_the_arguments_are_501() -> None:
    payload = m.BasicAck(1, True).encode() + b"\x07"
    text = "FRAME_ERROR - cannot decode <<0,0,0,0,0,0,0,1,1,7>>"
    assert_closed(running(1), frame(1, 1, payload), 501, text, 60, 80)


def test_a_text_too_long_for_a_short_string_is_cut_as_rabbitmq_cuts_it() -> None:
    connection = running(1)
    connection.receive(frame(1, 1, m.BasicAck(1, True).encode() + b"\xff" * 500))
    [close] = sent(connection)
    assert isinstance(close.method, m.ConnectionClose)
    assert len(close.method.reply_text) == 255
    assert close.method.reply_text.endswith(",255,255,...")


@pytest.mark.parametrize(
    ("value", "ids"),
    [(m.QueuePurge("qq", False), (50, 30)), (m.BasicPublish("", "qq", False, False), (60, 40))],
)
def test_a_short_string_that_is_not_utf8_is_501(value: m.QueuePurge | m.BasicPublish, ids: tuple[int, int]) -> None:
    payload = value.encode().replace(b"qq", b"\xff\xfe")
    assert_closed(running(1), frame(1, 1, payload), 501, "FRAME_ERROR - Malformed UTF-8 in shortstr", *ids)


def test_a_method_on_an_unopened_channel_is_504() -> None:
    text = "CHANNEL_ERROR - expected 'channel.open'"
    assert_closed(running(), method(1, m.QueuePurge("q", False)), 504, text, 50, 30)
    assert_closed(running(2), publish(1), 504, text, 60, 40)


def test_channel_open_twice_is_504() -> None:
    text = "CHANNEL_ERROR - second 'channel.open' seen"
    assert_closed(running(1), method(1, m.ChannelOpen()), 504, text, 20, 10)


def test_a_channel_method_on_channel_0_is_504() -> None:
    text = "CHANNEL_ERROR - unexpected method in connection state running"
    assert_closed(running(), method(0, m.QueuePurge("q", False)), 504, text, 50, 30)
    assert_closed(running(), method(0, m.ConnectionTuneOk(1, 4096, 0)), 504, text, 10, 31)


@pytest.mark.parametrize("octets", [content_header(), frame(3, 1, b"hello")])
def test_a_header_or_body_without_a_method_is_505(octets: bytes) -> None:
    text = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
    assert_closed(running(1), octets, 505, text)
    assert_closed(running(), octets, 505, text)


@pytest.mark.parametrize("octets", [method(1, m.BasicAck(1, False)), OPEN_PUBLISH, frame(3, 1, b"hello")])
def test_anything_else_where_a_content_header_is_due_is_505(octets: bytes) -> None:
    text = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
    assert_closed(running(1), OPEN_PUBLISH + octets, 505, text, 60, 40)


@pytest.mark.parametrize("octets", [method(1, m.BasicAck(1, False)), OPEN_PUBLISH, content_header()])
def test_anything_else_where_a_body_is_due_is_505(octets: bytes) -> None:
    text = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
    assert_closed(running(1), OPEN_PUBLISH + content_header() + octets, 505, text, 60, 40)


def test_a_content_header_of_the_wrong_class_is_505() -> None:
    text = "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead"
    assert_closed(running(1), OPEN_PUBLISH + content_header(class_id=50), 505, text, 60, 40)


def test_a_content_header_with_a_weight_is_505() -> None:
    text = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
    assert_closed(running(1), OPEN_PUBLISH + content_header(weight=1), 505, text, 60, 40)


def test_a_content_header_too_short_to_be_one_is_501() -> None:
    text = "FRAME_ERROR - type 2, all octets = <<0,60>>: unknown_frame"
    assert_closed(running(1), OPEN_PUBLISH + frame(2, 1, b"\x00\x3c"), 501, text)
    text = "FRAME_ERROR - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,3,0>>: unknown_frame"
    header = frame(2, 1, b"\x00\x3c\x00\x00" + (3).to_bytes(8) + b"\x00")
    assert_closed(running(1), OPEN_PUBLISH + header + frame(3, 1, b"abc"), 501, text)


def test_a_heartbeat_on_another_channel_than_0_is_505() -> None:
    assert_closed(running(1), frame(8, 1, b""), 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>")


def test_a_heartbeat_with_a_payload_is_501() -> None:
    assert_closed(running(), frame(8, 0, b"\x01"), 501, "FRAME_ERROR - type 8, all octets = <<1>>: unknown_frame")


def test_content_on_channel_0_is_505() -> None:
    assert_closed(running(), frame(3, 0, b"\x01"), 505, "UNEXPECTED_FRAME - type 3, all octets = <<1>>")


@pytest.mark.parametrize("channel", [0, 1])
def test_an_unknown_class_or_method_is_503_where_rabbitmq_crashes(channel: int) -> None:
    text = "COMMAND_INVALID - unknown method: class 99, method 1"
    assert_closed(running(1), frame(1, channel, b"\x00\x63\x00\x01"), 503, text, 99, 1)
    text = "COMMAND_INVALID - unknown method: class 60, method 1"
    assert_closed(running(1), frame(1, channel, b"\x00\x3c\x00\x01"), 503, text, 60, 1)


def test_a_method_frame_without_ids_is_501() -> None:
    assert_closed(running(1), frame(1, 1, b"\x00"), 501, "FRAME_ERROR - type 1, all octets = <<0>>: unknown_frame")


def test_a_channel_above_channel_max_is_530_where_rabbitmq_accepts_it() -> None:
    text = "NOT_ALLOWED - channel id 2048 is higher than the negotiated channel_max (2047)"
    assert_closed(running(2047), method(2048, m.ChannelOpen()), 530, text, 20, 10)
    text = "NOT_ALLOWED - channel id 6 is higher than the negotiated channel_max (5)"
    connection = running(tune_ok=m.ConnectionTuneOk(5, 131072, 60))
    assert_closed(connection, method(6, m.ChannelOpen()), 530, text, 20, 10)


def test_a_body_longer_than_declared_is_501_where_rabbitmq_is_silent() -> None:
    text = "FRAME_ERROR - content body of 6 octets or more where the header announced 5"
    assert_closed(running(1), OPEN_PUBLISH + content_header() + frame(3, 1, b"hello!"), 501, text, 60, 40)


@pytest.mark.parametrize(
    "value",
    [
        m.BasicDeliver("ctag", 1, False, "", "q"),
        m.QueueDeclareOk("q", 0, 0),
        m.ChannelOpenOk(),
        m.ChannelCloseOk(),
        m.ConnectionOpen("/"),
    ],
)
def test_a_method_no_client_may_send_there_is_503(value: Method) -> None:
    text = "COMMAND_INVALID - unimplemented method"
    assert_closed(running(1), method(1, value), 503, text, value.CLASS_ID, value.METHOD_ID)


def test_any_frame_on_a_channel_before_the_connection_is_open_is_505() -> None:

    text = "UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>"
    assert_closed(starting(), method(1, m.ChannelOpen()), 505, text)
