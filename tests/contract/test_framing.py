"""What is no proper frame, or stands where it may not, closes the connection (AMQP 0-9-1 §4.2.3, §4.2.6)."""

from __future__ import annotations

from struct import pack

import pytest

from cluster.amqp import methods as m
from cluster.amqp.frames import method_frame
from cluster.amqp.method import Method
from tests.contract.wire import BODY, HEADER, HEARTBEAT, METHOD, Wire, frame

PUBLISH = method_frame(1, m.BasicPublish("", "nowhere", False, False).encode())


def content_header(body_size: int, class_id: int = 60) -> bytes:
    return frame(HEADER, 1, pack(">HHQH", class_id, 0, body_size, 0))


@pytest.mark.parametrize(
    ("octets", "code", "text"),
    [
        pytest.param(
            frame(METHOD, 1, b"\0\x14\0\x0a", end=0),
            501,
            "FRAME_ERROR - type 1, all octets = <<0,20,0,10>>: {invalid_frame_end_marker,0}",
            id="bad frame end",
        ),
        pytest.param(
            frame(BODY, 1, bytes(200_000)),
            501,
            "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064}",
            id="frame larger than frame_max",
        ),
        pytest.param(
            frame(9, 1, b""),
            501,
            "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame",
            id="unknown frame type",
        ),
        pytest.param(
            frame(METHOD, 1, b"\0\x32\0\x0a\0"),
            501,
            "FRAME_ERROR - cannot decode <<0>>",
            id="arguments cut short",
        ),
        pytest.param(
            frame(METHOD, 1, b"\0\x32\0\x0a\0\0\x02\xff\xfe\0\0\0\0\0"),
            501,
            "FRAME_ERROR - Malformed UTF-8 in shortstr",
            id="short string that is not UTF-8",
        ),
        pytest.param(
            method_frame(2, m.BasicQos(0, 1, False).encode()),
            504,
            "CHANNEL_ERROR - expected 'channel.open'",
            id="method on a channel that is not open",
        ),
        pytest.param(
            method_frame(1, m.ChannelOpen().encode()),
            504,
            "CHANNEL_ERROR - second 'channel.open' seen",
            id="channel opened twice",
        ),
        pytest.param(
            method_frame(0, m.ChannelOpen().encode()),
            504,
            "CHANNEL_ERROR - unexpected method in connection state running",
            id="channel method on channel 0",
        ),
        pytest.param(
            content_header(0),
            505,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
            id="header without method",
        ),
        pytest.param(
            frame(BODY, 1, b"x"),
            505,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
            id="body without method",
        ),
        pytest.param(
            PUBLISH + PUBLISH,
            505,
            "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead",
            id="method where a header is due",
        ),
        pytest.param(
            PUBLISH + content_header(0, class_id=50),
            505,
            "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
            id="header of another class",
        ),
        pytest.param(
            frame(HEARTBEAT, 1, b""),
            505,
            "UNEXPECTED_FRAME - type 8, all octets = <<>>",
            id="heartbeat on a channel",
        ),
        pytest.param(
            frame(METHOD, 1, b"\0\x63\0\x01"),
            503,
            "COMMAND_INVALID - unknown method: class 99, method 1",
            id="unknown class",
        ),
        pytest.param(
            PUBLISH + content_header(1) + frame(BODY, 1, b"xy"),
            501,
            "FRAME_ERROR - content body of 2 octets or more where the header announced 1",
            id="body longer than declared",
        ),
        pytest.param(
            method_frame(1, m.BasicDeliver("tag", 1, False, "", "q").encode()),
            503,
            "COMMAND_INVALID - unimplemented method",
            id="method that only servers send",
        ),
    ],
)
def test_a_frame_that_may_not_be_closes_the_connection(wire: Wire, octets: bytes, code: int, text: str) -> None:
    wire.send(octets)
    wire.assert_connection_closed(code, text)


def test_nothing_that_follows_a_framing_error_is_carried_out(wire: Wire, name: str) -> None:
    wire.send(frame(9, 1, b"") + method_frame(1, m.QueueDeclare(name, False, False, False, False, True, {}).encode()))
    wire.assert_connection_closed(501, "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame")


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (m.ChannelFlow(False), "active=false"),
        (m.BasicQos(1, 0, False), "prefetch_size!=0 (1)"),
        (m.BasicRecover(False), "requeue=false"),
        (m.BasicRecoverAsync(False), "requeue=false"),
    ],
)
def test_what_rabbitmq_does_not_implement_closes_the_connection_with_540(wire: Wire, method: Method, text: str) -> None:
    wire.call(method)
    wire.assert_connection_closed(540, f"NOT_IMPLEMENTED - {text}")


def test_channels_are_opened_closed_and_opened_again(wire: Wire) -> None:
    for _ in range(3):
        wire.close_channel()
        wire.open_channel(1)


def test_flow_true_and_access_request_are_answered(wire: Wire) -> None:
    wire.call(m.ChannelFlow(True))
    assert wire.expect(m.ChannelFlowOk).active
    wire.call(m.AccessRequest("/data", False, True, True, True, True))
    wire.expect(m.AccessRequestOk)


def test_the_server_sends_heartbeats_and_drops_a_silent_client_without_a_word(stranger: Wire) -> None:
    stranger.open(1, heartbeat=1)
    beats = 0
    while True:
        try:
            got = stranger.frame()
        except EOFError:
            break
        assert (got.kind, got.channel, got.payload) == (HEARTBEAT, 0, b"")
        beats += 1
    assert beats >= 2
