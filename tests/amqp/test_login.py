"""Logging in: both mechanisms, refusals, and what is wrong with a response."""

from __future__ import annotations

import pytest

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.errors import ConnectionException
from cluster.amqp.field_table import encode_table
from cluster.amqp.settings import ConnectionSettings
from tests.amqp.client import CLIENT_PROPERTIES, START_OK, Sent, method, sent, starting


def close(code: int, text: str, class_id: int = 0, method_id: int = 0) -> Sent:
    return Sent(0, m.ConnectionClose(code, text, class_id, method_id))


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\x00guest\x00secret"),
        ("PLAIN", b"guest\x00guest\x00secret"),
        ("AMQPLAIN", encode_table({"LOGIN": "guest", "PASSWORD": "secret"})[4:]),
    ],
)
def test_both_mechanisms_give_a_user_name_and_a_password(mechanism: str, response: bytes) -> None:
    connection = starting()
    events = connection.receive(method(0, m.ConnectionStartOk(CLIENT_PROPERTIES, mechanism, response, "en_US")))
    assert events == [ev.LoginRequest(mechanism, "guest", b"secret", CLIENT_PROPERTIES)]
    assert "secret" not in repr(events)
    assert connection.client_capabilities == {"authentication_failure_close", "connection.blocked"}
    assert connection.client_properties == CLIENT_PROPERTIES


def test_tune_offers_the_settings() -> None:
    connection = starting(ConnectionSettings(channel_max=7, frame_max=8192, heartbeat=5))
    connection.receive(method(0, START_OK))
    assert connection.accept_login() == []
    assert sent(connection) == [Sent(0, m.ConnectionTune(7, 8192, 5))]


def test_the_usual_tune_is_that_of_rabbitmq() -> None:
    connection = starting()
    connection.receive(method(0, START_OK))
    connection.accept_login()
    assert sent(connection) == [Sent(0, m.ConnectionTune(2047, 131072, 60))]


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_a_bad_password_is_403(mechanism: str) -> None:
    connection = starting()
    response = encode_table({"LOGIN": "guest", "PASSWORD": "x"})[4:] if mechanism == "AMQPLAIN" else b"\x00guest\x00x"
    connection.receive(method(0, m.ConnectionStartOk(CLIENT_PROPERTIES, mechanism, response, "en_US")))
    assert connection.refuse_login() == []
    text = (
        f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. "
        "For details see the broker logfile."
    )
    assert sent(connection) == [close(403, text)]
    error = ConnectionException(403, text)
    assert connection.receive(method(0, m.ConnectionCloseOk())) == [ev.ConnectionClosed(error, abrupt=False)]


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\x00\x00guest"),
        ("PLAIN", b"\x00\x00"),
        ("AMQPLAIN", encode_table({"LOGIN": "", "PASSWORD": ""})[4:]),
    ],
)
def test_an_empty_user_name_is_one_to_be_judged(mechanism: str, response: bytes) -> None:
    event = starting().receive(method(0, m.ConnectionStartOk({}, mechanism, response, "en_US")))[0]
    assert isinstance(event, ev.LoginRequest)
    assert event.username == ""


def test_a_bad_password_ends_the_connection_of_a_client_that_expects_no_close() -> None:
    connection = starting()
    connection.receive(method(0, m.ConnectionStartOk({}, "PLAIN", b"\x00guest\x00x", "en_US")))
    closed = connection.refuse_login()
    assert [(type(event), event.abrupt) for event in closed if isinstance(event, ev.ConnectionClosed)] == [
        (ev.ConnectionClosed, False)
    ]
    assert sent(connection) == []
    assert connection.refuse_login() == [], "it is over"


def test_a_login_may_be_refused_in_other_words() -> None:
    connection = starting()
    connection.receive(method(0, START_OK))
    connection.refuse_login("the node is draining")
    assert sent(connection) == [close(403, "ACCESS_REFUSED - the node is draining")]


@pytest.mark.parametrize("mechanism", ["BOGUS", "EXTERNAL", "", "plain"])
def test_an_unknown_mechanism_is_503_where_rabbitmq_drops_the_socket(mechanism: str) -> None:
    connection = starting()
    text = f"COMMAND_INVALID - unknown authentication mechanism '{mechanism}'"
    error = ConnectionException(503, text, 10, 11)
    assert connection.receive(method(0, m.ConnectionStartOk({}, mechanism, b"", "en_US"))) == [
        ev.ConnectionFailed(error)
    ]
    assert sent(connection) == [close(503, text, 10, 11)]


@pytest.mark.parametrize(
    ("mechanism", "response", "text"),
    [
        ("PLAIN", b"", "the PLAIN response is not NUL, user name, NUL, password"),
        ("PLAIN", b"guest\x00guest", "the PLAIN response is not NUL, user name, NUL, password"),
        ("PLAIN", b"root\x00guest\x00guest", "the PLAIN response is not NUL, user name, NUL, password"),
        ("PLAIN", b"\x00a\x00b\x00c", "the PLAIN response is not NUL, user name, NUL, password"),
        ("PLAIN", b"\x00\xff\x00guest", "the user name of the PLAIN response is not UTF-8"),
        ("AMQPLAIN", b"\x05LOGI", "the AMQPLAIN response is not a field table"),
        ("AMQPLAIN", b"", "the AMQPLAIN response lacks a LOGIN or PASSWORD string"),
        (
            "AMQPLAIN",
            encode_table({"LOGIN": "guest", "PASSWORD": 5})[4:],
            "the AMQPLAIN response lacks a LOGIN or PASSWORD string",
        ),
    ],
)
def test_a_malformed_response_is_502(mechanism: str, response: bytes, text: str) -> None:
    connection = starting()
    connection.receive(method(0, m.ConnectionStartOk({}, mechanism, response, "en_US")))
    assert sent(connection) == [close(502, f"SYNTAX_ERROR - {text}")]


def test_external_leaves_it_to_the_connection_below_who_the_client_is() -> None:
    connection = starting(ConnectionSettings(mechanisms="PLAIN AMQPLAIN EXTERNAL"))
    events = connection.receive(method(0, m.ConnectionStartOk(CLIENT_PROPERTIES, "EXTERNAL", b"", "en_US")))
    assert events == [ev.LoginRequest("EXTERNAL", "", b"", CLIENT_PROPERTIES)]


def test_settings_may_leave_out_a_mechanism() -> None:
    connection = starting(ConnectionSettings(mechanisms="AMQPLAIN"))
    connection.receive(method(0, START_OK))
    assert sent(connection) == [close(503, "COMMAND_INVALID - unknown authentication mechanism 'PLAIN'", 10, 11)]
