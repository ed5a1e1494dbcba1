"""A client for the server machine, played frame by frame, and what its answers mean.

Law: everything here goes through octets; the machine's inside is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.connection import ServerConnection
from cluster.amqp.field_table import FieldTable
from cluster.amqp.frames import content_frames, method_frame
from cluster.amqp.method import Method
from cluster.amqp.properties import BasicProperties, encode_header
from cluster.amqp.settings import ConnectionSettings

HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_HEAD = Struct(">BHI")
CLIENT_PROPERTIES: FieldTable = {
    "product": "a test",
    "capabilities": {"authentication_failure_close": True, "connection.blocked": True, "basic.nack": False},
}
START_OK = m.ConnectionStartOk(CLIENT_PROPERTIES, "PLAIN", b"\x00guest\x00secret", "en_US")
TUNE_OK = m.ConnectionTuneOk(2047, 131072, 60)


def frame(kind: int, channel: int, payload: bytes, end: int = 0xCE) -> bytes:
    return FRAME_HEAD.pack(kind, channel, len(payload)) + payload + bytes((end,))


def method(channel: int, value: Method) -> bytes:
    return method_frame(channel, value.encode())


def publish(
    channel: int,
    body: bytes = b"hello",
    routing_key: str = "q",
    properties: BasicProperties = BasicProperties(delivery_mode=2),  # noqa: B008 - a value
    frame_max: int = 131072,
) -> bytes:
    basic_publish = m.BasicPublish("amq.direct", routing_key, False, False).encode()
    return content_frames(channel, basic_publish, encode_header(len(body), properties), body, frame_max)


@dataclass(frozen=True)
class Sent:
    """A method that the server sent, and on which channel."""

    channel: int
    method: Method


def split_frames(octets: bytes) -> list[tuple[int, int, bytes]]:
    """Type, channel and payload of each frame; fails unless the octets are whole frames."""
    frames = []
    position = 0
    while position < len(octets):
        kind, channel, size = FRAME_HEAD.unpack_from(octets, position)
        end = position + 7 + size
        assert octets[end] == 0xCE
        frames.append((kind, channel, octets[position + 7 : end]))
        position = end + 1
    return frames


def sent(connection: ServerConnection) -> list[Sent]:
    """The method frames in the output so far, heartbeats left out."""
    found = []
    for kind, channel, payload in split_frames(b"".join(connection.take_output())):
        if kind == 1:
            found.append(Sent(channel, m.METHODS[int.from_bytes(payload[:4])].decode(payload)))
    return found


def starting(settings: ConnectionSettings | None = None) -> ServerConnection:
    """A connection that has sent connection.start."""
    connection = ServerConnection(settings or ConnectionSettings())
    assert connection.receive(HEADER) == []
    connection.take_output()
    return connection


def tuning(settings: ConnectionSettings | None = None) -> ServerConnection:
    """A connection that has sent connection.tune."""
    connection = starting(settings)
    [event] = connection.receive(method(0, START_OK))
    assert isinstance(event, ev.LoginRequest)
    assert connection.accept_login() == []
    connection.take_output()
    return connection


def opening(settings: ConnectionSettings | None = None, tune_ok: m.ConnectionTuneOk | None = None) -> ServerConnection:
    """A connection that has received connection.open."""
    connection = tuning(settings)
    offer = connection.settings
    answer = tune_ok or m.ConnectionTuneOk(offer.channel_max, offer.frame_max, offer.heartbeat)
    assert connection.receive(method(0, answer)) == []
    assert connection.receive(method(0, m.ConnectionOpen("/"))) == [ev.OpenRequest("/")]
    return connection


def running(
    *channels: int, settings: ConnectionSettings | None = None, tune_ok: m.ConnectionTuneOk | None = None
) -> ServerConnection:
    """An open connection with these channels open."""
    connection = opening(settings, tune_ok)
    assert connection.accept_open() == []
    for channel in channels:
        assert connection.receive(method(channel, m.ChannelOpen())) == [ev.ChannelOpened(channel)]
    connection.take_output()
    return connection


def merged(events: list[ev.Event]) -> list[ev.Event]:
    """The same events with neighbouring runs of one channel put together, as one long chunk would have."""
    result: list[ev.Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, ev.PublishBatch):
            if isinstance(last, ev.PublishBatch) and last.channel == event.channel:
                last.methods.extend(event.methods)
                last.headers.extend(event.headers)
                last.bodies.extend(event.bodies)
            else:
                copied = (list(event.methods), list(event.headers), list(event.bodies))
                result.append(ev.PublishBatch(event.channel, *copied))
        elif isinstance(event, ev.AckBatch):
            if isinstance(last, ev.AckBatch) and last.channel == event.channel:
                last.tags.extend(event.tags)
            else:
                result.append(ev.AckBatch(event.channel, list(event.tags)))
        else:
            result.append(event)
    return result
