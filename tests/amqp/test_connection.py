"""The connection from its protocol header to its end: one test a line of the measured table, and the rest."""

from __future__ import annotations

import pytest

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.connection import HELD_INPUT_SIZE_MAX, ServerConnection
from cluster.amqp.connection_state import ConnectionState
from cluster.amqp.errors import (
    ConnectionException,
    connection_forced,
    not_allowed,
    precondition_failed,
)
from cluster.amqp.field_table import FieldTable
from cluster.amqp.settings import ConnectionSettings
from tests.amqp.client import (
    HEADER,
    START_OK,
    TUNE_OK,
    Sent,
    frame,
    method,
    opening,
    publish,
    running,
    sent,
    split_frames,
    starting,
    tuning,
)

OPEN = m.ConnectionOpen("/")


def close(code: int, text: str, class_id: int = 0, method_id: int = 0) -> Sent:
    return Sent(0, m.ConnectionClose(code, text, class_id, method_id))


# The protocol header and connection.start.


@pytest.mark.parametrize("header", [HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x01\x01\x08\x00"])
def test_the_headers_of_0_9_1_and_0_9_and_0_8_are_answered_with_start(header: bytes) -> None:
    connection = ServerConnection(ConnectionSettings(server_properties={"product": "ours"}))
    assert connection.receive(header) == []
    [start] = sent(connection)
    assert isinstance(start.method, m.ConnectionStart)
    assert (start.method.version_major, start.method.version_minor) == (0, 9)
    assert start.method.mechanisms == b"PLAIN AMQPLAIN"
    assert start.method.locales == b"en_US"
    assert start.method.server_properties["product"] == "ours"
    assert start.method.server_properties["capabilities"] == {
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


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n", b"AMQP\x00\x01\x00\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01"]
)
def test_any_other_header_is_answered_with_ours_and_the_end(octets: bytes) -> None:
    connection = ServerConnection(ConnectionSettings())
    assert connection.receive(octets) == [ev.ConnectionClosed(None, abrupt=False)]
    assert connection.take_output() == [b"AMQP\x00\x00\x09\x01"]
    assert connection.receive(b"more") == []
    assert connection.eof() == []


# tune-ok.


@pytest.mark.parametrize(
    ("channel_max", "frame_max", "text"),
    [
        (2047, 1000, "negotiated frame_max = 1000 is lower than the minimum allowed value (4096)"),
        (2047, 0, "negotiated frame_max = 0 (no limit) is higher than the maximum allowed value (131072)"),
        (2047, 10**9, "negotiated frame_max = 1000000000 is higher than the maximum allowed value (131072)"),
        (0, 131072, "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
        (65535, 131072, "negotiated channel_max = 65535 is higher than the maximum allowed value (2047)"),
    ],
)
def test_tune_ok_out_of_range_is_530_where_rabbitmq_drops_the_socket(
    channel_max: int, frame_max: int, text: str
) -> None:
    connection = tuning()
    connection.receive(method(0, m.ConnectionTuneOk(channel_max, frame_max, 60)))
    assert sent(connection) == [close(530, f"NOT_ALLOWED - {text}", 10, 30)]


def test_the_client_may_lower_every_limit() -> None:
    connection = running(tune_ok=m.ConnectionTuneOk(1, 4096, 0))
    assert (connection.channel_max, connection.frame_max, connection.heartbeat) == (1, 4096, 0)
    connection.receive(frame(3, 1, bytes(4097)))
    text = "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}"
    assert sent(connection) == [close(501, text)]


def test_until_tune_ok_a_frame_may_have_8192_octets() -> None:
    connection = starting()
    connection.receive(frame(1, 0, bytes(8193))[:7])
    text = "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,8193,8184}"
    assert sent(connection) == [close(501, text)]


# connection.open and what the broker may answer.


@pytest.mark.parametrize(
    "explanation",
    [
        "vhost nope not found",
        "access to vhost 'v2' refused for user 'lim'",
        "access to vhost '/' refused for user 'lim': connection limit (0) is reached",
        "connection refused for user 'lim': user connection limit (0) is reached",
    ],
)
def test_a_refused_vhost_is_530(explanation: str) -> None:
    connection = opening()
    connection.connection_error(not_allowed(explanation, 10, 40))
    assert sent(connection) == [close(530, f"NOT_ALLOWED - {explanation}", 10, 40)]
    assert connection.accept_open() == []
    assert not connection.has_output


def test_too_many_channels_of_a_user_is_530() -> None:
    connection = running(1)
    text = "number of channels opened for user 'lim' has reached the maximum allowed user limit of (1)"
    connection.connection_error(not_allowed(text, 20, 10))
    assert sent(connection) == [close(530, f"NOT_ALLOWED - {text}", 20, 10)]


def test_a_channel_that_the_broker_judges_is_answered_when_it_is_accepted() -> None:
    connection = running()
    connection.judge_channels(wanted=True)
    assert connection.receive(method(1, m.ChannelOpen()) + method(1, m.TxSelect())) == [
        ev.ChannelOpened(1),
        ev.MethodReceived(1, m.TxSelect()),
    ]
    assert not connection.has_output
    for _ in range(2):
        connection.accept_channel(1)
    assert sent(connection) == [Sent(1, m.ChannelOpenOk())]


def test_a_channel_that_fails_before_it_is_accepted_is_never_opened() -> None:
    connection = running()
    connection.judge_channels(wanted=True)
    connection.receive(method(1, m.ChannelOpen()))
    connection.channel_error(1, precondition_failed("x"))
    assert [frame.method.__class__ for frame in sent(connection)] == [m.ChannelClose]
    connection.accept_channel(1)
    assert not connection.has_output


def test_open_is_answered_with_open_ok() -> None:
    connection = opening()
    assert connection.accept_open() == []
    assert sent(connection) == [Sent(0, m.ConnectionOpenOk())]
    assert connection.state is ConnectionState.RUNNING


@pytest.mark.parametrize(
    ("connection", "state"), [(starting(), "starting"), (tuning(), "tuning"), (running(), "running")]
)
def test_a_method_out_of_turn_is_504(connection: ServerConnection, state: str) -> None:
    connection.receive(method(0, OPEN))
    text = f"CHANNEL_ERROR - unexpected method in connection state {state}"
    assert sent(connection) == [close(504, text, 10, 40)]


def test_what_a_client_sends_ahead_waits_for_each_answer() -> None:
    connection = ServerConnection(ConnectionSettings())
    ahead = HEADER + method(0, START_OK) + method(0, TUNE_OK) + method(0, OPEN) + method(1, m.ChannelOpen())
    [login] = connection.receive(ahead[:-3])
    assert isinstance(login, ev.LoginRequest)
    assert connection.receive(ahead[-3:]) == []
    assert connection.accept_login() == [ev.OpenRequest("/")]
    assert connection.accept_open() == [ev.ChannelOpened(1)]
    assert [type(answer.method) for answer in sent(connection)] == [
        m.ConnectionStart,
        m.ConnectionTune,
        m.ConnectionOpenOk,
        m.ChannelOpenOk,
    ]


def test_sending_too_much_ahead_is_506() -> None:
    connection = starting()
    connection.receive(method(0, START_OK))
    assert connection.receive(bytes(HELD_INPUT_SIZE_MAX)) == []
    text = f"RESOURCE_ERROR - more than {HELD_INPUT_SIZE_MAX} octets sent before the connection was open"
    assert connection.receive(b"x") == [ev.ConnectionFailed(ConnectionException(506, text))]
    assert sent(connection) == [close(506, text)]
    assert connection.accept_login() == []


def test_answering_what_nobody_asked_raises_and_changes_nothing() -> None:
    connection = running()
    with pytest.raises(RuntimeError, match="nobody asked"):
        connection.accept_login()
    with pytest.raises(RuntimeError, match="nobody asked"):
        connection.accept_open()
    assert connection.state is ConnectionState.RUNNING


# While it runs.


def test_update_secret_is_answered_when_the_broker_accepts_it() -> None:
    connection = running()
    events = connection.receive(method(0, m.ConnectionUpdateSecret(b"fresh", "expiry")))
    assert events == [ev.SecretUpdated(b"fresh", "expiry")]
    assert "fresh" not in repr(events)
    assert not connection.has_output
    connection.accept_secret()
    assert sent(connection) == [Sent(0, m.ConnectionUpdateSecretOk())]


def test_blocked_and_unblocked_go_out_on_channel_0() -> None:
    connection = running()
    connection.send(0, m.ConnectionBlocked("low on memory"))
    connection.send(0, m.ConnectionUnblocked())
    assert sent(connection) == [Sent(0, m.ConnectionBlocked("low on memory")), Sent(0, m.ConnectionUnblocked())]


def test_a_heartbeat_makes_no_event() -> None:
    connection = running()
    assert connection.receive(frame(8, 0, b"")) == []


# The end.


def test_an_operator_closes_with_320() -> None:
    connection = running(1)
    connection.connection_error(connection_forced("node goes down"))
    assert sent(connection) == [close(320, "CONNECTION_FORCED - node goes down")]
    error = ConnectionException(320, "CONNECTION_FORCED - node goes down")
    assert connection.receive(publish(1) + method(0, m.ConnectionCloseOk())) == [
        ev.ConnectionClosed(error, abrupt=False)
    ]


def test_close_sends_its_text_as_it_is() -> None:
    connection = running()
    connection.close(320, "CONNECTION_FORCED - Closed via management plugin")
    assert sent(connection) == [close(320, "CONNECTION_FORCED - Closed via management plugin")]


def test_the_clients_close_is_answered_when_the_broker_has_cleaned_up() -> None:
    connection = running(1)
    octets = method(0, m.ConnectionClose(200, "bye", 0, 0)) + publish(1)
    assert connection.receive(octets) == [ev.ConnectionCloseRequested(200, "bye")]
    assert not connection.has_output
    connection.close_ok()
    connection.close_ok()
    assert sent(connection) == [Sent(0, m.ConnectionCloseOk())]
    assert connection.state is ConnectionState.CLOSED
    assert connection.eof() == []


def test_a_close_may_come_before_the_connection_is_open() -> None:
    connection = tuning()
    assert connection.receive(method(0, m.ConnectionClose(200, "", 0, 0))) == [ev.ConnectionCloseRequested(200, "")]
    connection.close_ok()
    assert sent(connection) == [Sent(0, m.ConnectionCloseOk())]


def test_crossing_closes_are_both_answered() -> None:
    connection = running(1)
    connection.connection_error(connection_forced("now"))
    assert connection.receive(method(0, m.ConnectionClose(200, "bye", 0, 0))) == []
    assert sent(connection) == [
        close(320, "CONNECTION_FORCED - now"),
        Sent(0, m.ConnectionCloseOk()),
    ]
    [end] = connection.receive(method(0, m.ConnectionCloseOk()))
    assert isinstance(end, ev.ConnectionClosed)


def test_once_a_close_is_sent_everything_else_is_ignored_and_nothing_goes_out() -> None:
    connection = running(1)
    connection.connection_error(connection_forced("now"))
    connection.take_output()
    assert connection.receive(publish(1) + method(2, m.ChannelOpen()) + frame(9, 0, b"") + frame(8, 3, b"")) == []
    connection.send(1, m.BasicAck(1, False))
    connection.content(1, b"", b"", b"")
    connection.queue_output(b"frames")
    connection.channel_error(1, precondition_failed("late"))
    connection.connection_error(connection_forced("again"))
    connection.send_heartbeat()
    connection.close_channel_ok(1)
    connection.close_ok()
    assert not connection.has_output
    assert not connection.may_send(0)
    assert not connection.may_send(1)


def test_when_frames_cannot_be_told_apart_any_more_only_the_end_of_the_socket_counts() -> None:
    connection = running(1)
    connection.receive(frame(3, 1, b"x", end=0))
    assert connection.receive(b"garbage, no frame at all") == []
    assert connection.receive(method(0, m.ConnectionCloseOk())) == []
    [end] = connection.eof()
    assert isinstance(end, ev.ConnectionClosed)
    assert not end.abrupt
    assert end.error is not None
    assert end.error.code == 501


@pytest.mark.parametrize(
    "connection", [ServerConnection(ConnectionSettings()), starting(), tuning(), opening(), running(1)]
)
def test_a_socket_that_ends_without_a_close_is_abrupt(connection: ServerConnection) -> None:
    assert connection.eof() == [ev.ConnectionClosed(None, abrupt=True)]
    assert connection.eof() == []
    assert connection.receive(HEADER) == []


def test_a_connection_that_has_said_nothing_yet_is_closed_without_a_word() -> None:
    connection = ServerConnection(ConnectionSettings())
    connection.connection_error(connection_forced("now"))
    assert not connection.has_output
    assert connection.state is ConnectionState.CLOSED


# Settings.


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel_max": 0},
        {"channel_max": 65536},
        {"frame_max": 4095},
        {"heartbeat": -1},
        {"heartbeat": 65536},
        {"message_size_max": -1},
        {"message_size_max": 10, "unfinished_content_max": 9},
        {"mechanisms": ""},
        {"mechanisms": "PLAIN SCRAM-SHA-256"},
    ],
)
def test_settings_that_could_not_be_offered_are_refused(wrong: FieldTable) -> None:
    with pytest.raises(ValueError):
        ConnectionSettings(**wrong)  # type: ignore[arg-type]


def test_output_is_whole_frames_in_order_and_taken_once() -> None:
    connection = running(1)
    connection.send(1, m.BasicQosOk())
    connection.queue_output(method(1, m.BasicAck(1, False)), method(1, m.BasicAck(2, False)))
    output = connection.take_output()
    assert [payload[:4] for _, _, payload in split_frames(b"".join(output))] == [
        b"\x00\x3c\x00\x0b",
        b"\x00\x3c\x00\x50",
        b"\x00\x3c\x00\x50",
    ]
    assert connection.take_output() == []
