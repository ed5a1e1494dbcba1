"""Whatever a peer sends: nothing is raised, and what is answered is whole frames and at most one close.

Law: streams are random octets, random frames, and good streams with some octets changed. AMQP_SEED repeats one.
"""

from __future__ import annotations

import os
import random

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.connection import ServerConnection
from cluster.amqp.errors import AmqpException
from cluster.amqp.method import Method
from cluster.amqp.properties import decode_header, peek
from cluster.amqp.settings import ConnectionSettings
from tests.amqp.client import HEADER, START_OK, frame, method, publish, split_frames
from tests.amqp.test_split import ENDINGS, STREAM

ROUNDS = 1500
SETTINGS = ConnectionSettings(message_size_max=20000, unfinished_content_max=30000)
GOOD = [STREAM + ending for ending in ENDINGS]
HANDSHAKE = (
    HEADER + method(0, START_OK) + method(0, m.ConnectionTuneOk(100, 4096, 60)) + method(0, m.ConnectionOpen("/"))
)


def chosen_seed() -> int:
    """AMQP_SEED of the environment, or a new one; prints the command that repeats the test."""
    seed = int(os.environ.get("AMQP_SEED") or random.SystemRandom().randrange(1 << 32))
    test = os.environ["PYTEST_CURRENT_TEST"].split(" ")[0]
    print(f"repeat with: AMQP_SEED={seed} python -m pytest '{test}'")
    return seed


def play(stream: bytes, random_source: random.Random) -> list[ev.Event]:
    """Feed the stream in random chunks to a connection whose broker agrees; check every answer."""
    connection = ServerConnection(SETTINGS)
    seen: list[ev.Event] = []
    output: list[bytes] = []

    def handle(events: list[ev.Event]) -> None:
        for event in events:
            seen.append(event)
            match event:
                case ev.LoginRequest():
                    handle(connection.accept_login())
                case ev.OpenRequest():
                    handle(connection.accept_open())
                case ev.ConnectionCloseRequested():
                    connection.close_ok()
                case ev.ChannelClosed():
                    connection.close_channel_ok(event.channel)
                case ev.PublishBatch():
                    check_batch(event)

    position = 0
    while position < len(stream):
        size = random_source.choice((1, 8, 50, 1000, 10000))
        handle(connection.receive(stream[position : position + size]))
        position += size
    handle(connection.eof())
    output = connection.take_output()
    check_output(b"".join(output))
    return seen


def check_batch(batch: ev.PublishBatch) -> None:
    """What the events promise of a batch."""
    assert len(batch.methods) == len(batch.headers) == len(batch.bodies) > 0
    for payload, header, body in zip(batch.methods, batch.headers, batch.bodies, strict=True):
        m.BasicPublish.decode(payload)
        assert int.from_bytes(header[4:12]) == len(body) <= SETTINGS.message_size_max
        for read in (peek, decode_header):
            try:
                read(header)
            except AmqpException as error:
                code = error.code
            else:
                code = 501
            assert code == 501


def check_output(octets: bytes) -> None:
    """Whole frames holding good methods, at most one connection.close, and after it nothing but close-ok."""
    if octets == HEADER:
        return
    closes = 0
    for kind, _, payload in split_frames(octets):
        assert kind == 1
        cls: type[Method] = m.METHODS[int.from_bytes(payload[:4])]
        cls.decode(payload)
        assert cls.FROM_SERVER
        assert not closes or cls is m.ConnectionCloseOk
        closes += cls is m.ConnectionClose
    assert closes <= 1


def assert_ends_in_order(events: list[ev.Event]) -> None:
    """The machine's failure and the end each come at most once, and nothing comes after the end."""
    kinds = [type(event) for event in events]
    assert kinds.count(ev.ConnectionClosed) + kinds.count(ev.ConnectionCloseRequested) == 1
    assert kinds[-1] in {ev.ConnectionClosed, ev.ConnectionCloseRequested}
    if ev.ConnectionFailed in kinds:
        assert kinds.index(ev.ConnectionFailed) == len(kinds) - 2


def test_random_octets_never_raise() -> None:
    source = random.Random(chosen_seed())
    for _ in range(ROUNDS):
        octets = source.randbytes(source.randrange(200))
        for prefix in (b"", HEADER, HANDSHAKE, HANDSHAKE + method(1, m.ChannelOpen())):
            assert_ends_in_order(play(prefix + octets, source))


def test_random_frames_never_raise() -> None:
    source = random.Random(chosen_seed())
    keys = list(m.METHODS)
    for _ in range(ROUNDS):
        stream = bytearray(HANDSHAKE + method(1, m.ChannelOpen()))
        for _ in range(source.randrange(1, 8)):
            payload = source.randbytes(source.randrange(40))
            kind = source.choice((1, 1, 1, 2, 3, 8, 9))
            if kind == 1:
                payload = source.choice(keys).to_bytes(4) + payload[: source.choice((0, 1, 2, 5, 9, 40))]
            elif kind == 2 and source.random() < 0.8:
                payload = b"\x00\x3c\x00\x00" + source.randrange(20).to_bytes(8) + payload
            stream += frame(kind, source.choice((0, 1, 1, 1, 2)), payload)
            if source.random() < 0.3:
                stream += publish(1, source.randbytes(source.randrange(20)))
        assert_ends_in_order(play(bytes(stream), source))


def test_good_streams_with_octets_changed_never_raise() -> None:
    source = random.Random(chosen_seed())
    interesting = (0, 1, 2, 3, 8, 60, 80, 127, 128, 206, 255)
    short_stream = STREAM.replace(bytes(1000), b"")
    for _ in range(ROUNDS):
        stream = bytearray(source.choice((HANDSHAKE + method(1, m.ChannelOpen()) + publish(1) * 3, short_stream)))
        for _ in range(source.randrange(1, 4)):
            position = source.randrange(8, len(stream))
            match source.randrange(3):
                case 0:
                    stream[position] = source.choice(interesting)
                case 1:
                    del stream[position]
                case 2:
                    stream.insert(position, source.choice(interesting))
        assert_ends_in_order(play(bytes(stream), source))


def test_good_streams_are_good() -> None:
    source = random.Random(chosen_seed())
    for stream in GOOD:
        events = play(stream, source)
        assert_ends_in_order(events)
        assert any(isinstance(event, ev.PublishBatch) for event in events)
