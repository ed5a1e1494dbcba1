"""Heartbeats, with time passed in."""

from __future__ import annotations

from cluster.amqp import methods as m
from tests.amqp.client import frame, running


def test_a_heartbeat_is_due_after_half_an_interval_without_output() -> None:
    connection = running(1, tune_ok=m.ConnectionTuneOk(2047, 131072, 10))
    connection.take_output()
    assert not connection.heartbeat_due(100.0)
    assert not connection.heartbeat_due(104.9)
    assert connection.heartbeat_due(105.0)
    connection.send_heartbeat()
    assert connection.take_output() == [b"\x08\x00\x00\x00\x00\x00\x00\xce"]
    assert not connection.heartbeat_due(106.0)
    assert not connection.heartbeat_due(110.9)
    assert connection.heartbeat_due(111.0)


def test_output_puts_the_heartbeat_off() -> None:
    connection = running(1, tune_ok=m.ConnectionTuneOk(2047, 131072, 10))
    assert not connection.heartbeat_due(100.0)
    connection.send(1, m.BasicQosOk())
    connection.take_output()
    assert not connection.heartbeat_due(105.0)
    assert not connection.heartbeat_due(109.0)
    assert connection.heartbeat_due(110.0)


def test_a_peer_silent_for_two_intervals_is_gone() -> None:
    connection = running(tune_ok=m.ConnectionTuneOk(2047, 131072, 10))
    assert not connection.peer_silent(100.0)
    assert not connection.peer_silent(119.9)
    assert connection.peer_silent(120.0)


def test_any_octet_counts_as_a_sign_of_life() -> None:
    connection = running(tune_ok=m.ConnectionTuneOk(2047, 131072, 10))
    assert not connection.peer_silent(100.0)
    connection.receive(frame(8, 0, b"")[:1])
    assert not connection.peer_silent(119.0)
    assert not connection.peer_silent(138.0)
    assert connection.peer_silent(139.0)


def test_an_interval_of_0_turns_heartbeats_off() -> None:
    connection = running(tune_ok=m.ConnectionTuneOk(2047, 131072, 0))
    assert not connection.heartbeat_due(0.0)
    assert not connection.heartbeat_due(1e9)
    assert not connection.peer_silent(0.0)
    assert not connection.peer_silent(1e9)


def test_silence_is_excused_while_nobody_listens() -> None:
    connection = running(tune_ok=m.ConnectionTuneOk(2047, 131072, 10))
    for now in range(100, 200, 5):
        connection.excuse_silence()
        assert not connection.peer_silent(now)
    assert not connection.peer_silent(214.9)
    assert connection.peer_silent(215.0)
