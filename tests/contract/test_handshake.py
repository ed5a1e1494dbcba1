"""From the protocol header to connection.open-ok, and how a login is refused (AMQP 0-9-1 §2.2.4, §4.2.2)."""

from __future__ import annotations

import pytest

from cluster.amqp import methods as m
from cluster.amqp.constants import PROTOCOL_HEADER
from tests.contract.wire import Wire, publish


@pytest.mark.parametrize("header", [PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x08\x00"])
def test_a_protocol_header_that_clients_send_is_answered_with_start(stranger: Wire, header: bytes) -> None:
    stranger.send(header)
    assert stranger.expect(m.ConnectionStart, 0).version_minor == 9


def test_anything_but_amqp_is_answered_with_the_header_and_the_end(stranger: Wire) -> None:
    stranger.send(b"GET / HTTP/1.1\r\n\r\n")
    assert stranger.read_exactly(8) == PROTOCOL_HEADER
    assert stranger.at_end()


def test_start_names_version_mechanisms_locale_and_every_capability(stranger: Wire) -> None:
    start = stranger.begin()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert (start.mechanisms, start.locales) == (b"PLAIN AMQPLAIN", b"en_US")
    properties = start.server_properties
    assert set(properties) >= {"cluster_name", "product", "version", "platform", "copyright", "information"}
    assert properties["capabilities"] == {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "consumer_priorities": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": True,
    }


def test_tune_offers_what_rabbitmq_offers(stranger: Wire) -> None:
    stranger.log_in()
    assert stranger.expect(m.ConnectionTune, 0) == m.ConnectionTune(2047, 131072, 60)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"channel_max": 0}, "channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
        ({"channel_max": 65535}, "channel_max = 65535 is higher than the maximum allowed value (2047)"),
        ({"frame_max": 0}, "frame_max = 0 (no limit) is higher than the maximum allowed value (131072)"),
        ({"frame_max": 1000}, "frame_max = 1000 is lower than the minimum allowed value (4096)"),
        ({"frame_max": 10**9}, "frame_max = 1000000000 is higher than the maximum allowed value (131072)"),
    ],
)
def test_a_tune_ok_out_of_range_closes_with_530(stranger: Wire, answer: dict[str, int], text: str) -> None:
    stranger.log_in()
    stranger.tune(**answer)
    stranger.assert_connection_closed(530, f"NOT_ALLOWED - negotiated {text}")


def test_login_with_amqplain_is_accepted(stranger: Wire) -> None:
    stranger.begin()
    response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest"
    stranger.call(m.ConnectionStartOk({}, "AMQPLAIN", response, "en_US"), 0)
    stranger.tune()


@pytest.mark.parametrize(
    ("user", "password"), [("guest", "wrong"), ("nobody", "guest"), ("guest", ""), ("", "guest"), ("", "")]
)
def test_a_login_that_does_not_fit_closes_with_403_and_tells_no_more(stranger: Wire, user: str, password: str) -> None:
    stranger.log_in(user, password)
    stranger.assert_connection_closed(
        403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
    )


def test_a_login_that_does_not_fit_ends_the_connection_of_a_client_that_expects_no_close(stranger: Wire) -> None:
    """Measured: without the capability authentication_failure_close RabbitMQ says nothing. The Go client and old ones
    take this silence, and nothing else, for bad credentials."""
    stranger.log_in(password="wrong", capabilities={})
    assert stranger.at_end()


def test_an_unknown_mechanism_closes_with_503(stranger: Wire) -> None:
    stranger.log_in(mechanism="BOGUS")
    stranger.assert_connection_closed(503, "COMMAND_INVALID - unknown authentication mechanism 'BOGUS'")


def test_an_unknown_vhost_closes_with_530(stranger: Wire) -> None:
    stranger.log_in()
    stranger.tune()
    stranger.call(m.ConnectionOpen("nope"), 0)
    stranger.assert_connection_closed(530, "NOT_ALLOWED - vhost nope not found")


def test_the_clients_close_is_answered_with_close_ok_and_the_socket_is_the_clients_to_close(wire: Wire) -> None:
    """Measured: RabbitMQ leaves it open, and the Go client tells of an error when it ends before it has closed it."""
    wire.call(m.ConnectionClose(200, "bye", 0, 0), 0)
    wire.expect(m.ConnectionCloseOk, 0)
    assert wire.silent_for(0.1)


def test_a_new_secret_is_accepted_and_the_connection_goes_on(wire: Wire) -> None:
    wire.call(m.ConnectionUpdateSecret(b"new", "renewal"), 0)
    wire.expect(m.ConnectionUpdateSecretOk, 0)
    wire.open_channel(2)


def test_frames_keep_to_the_negotiated_frame_max_both_ways(stranger: Wire) -> None:
    stranger.open(1, frame_max=4096)
    stranger.call(m.QueueDeclare("", False, False, True, False, False, {}))
    queue = stranger.expect(m.QueueDeclareOk).queue
    body = bytes(range(256)) * 64
    stranger.send(publish("", queue, body, frame_max=4096))
    stranger.call(m.BasicConsume(queue, "", False, True, False, False, {}))
    stranger.expect(m.BasicConsumeOk)
    stranger.expect(m.BasicDeliver)
    stranger.frame()
    received = b""
    while len(received) < len(body):
        part = stranger.frame()
        assert len(part.payload) <= 4096 - 8
        received += part.payload
    assert received == body


def test_a_client_that_takes_frame_max_for_the_limit_of_the_payload_is_understood(stranger: Wire) -> None:
    stranger.open(1, frame_max=4096)
    stranger.call(m.QueueDeclare("", False, False, True, False, False, {}))
    queue = stranger.expect(m.QueueDeclareOk).queue
    body = bytes(range(256)) * 32
    stranger.send(publish("", queue, body, frame_max=4096 + 8))
    stranger.call(m.BasicGet(queue, True))
    assert stranger.message(m.BasicGetOk).body == body
    stranger.send(publish("", queue, body + b"x", frame_max=4096 + 9))
    stranger.assert_connection_closed(501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}")


def test_a_channel_above_the_negotiated_channel_max_closes_with_530(stranger: Wire) -> None:
    stranger.open(3, channel_max=3)
    stranger.call(m.ChannelOpen(), 4)
    stranger.assert_connection_closed(530, "NOT_ALLOWED - channel id 4 is higher than the negotiated channel_max (3)")


def test_more_channels_than_negotiated_close_with_530(stranger: Wire) -> None:
    stranger.open(1, channel_max=1)
    stranger.call(m.ChannelOpen(), 2)
    stranger.assert_connection_closed(
        530, "NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)"
    )
