"""However the stream is cut into chunks, the same comes of it.

Law: only the cuts between runs of one channel (PublishBatch, AckBatch) may differ, so runs are merged first.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.connection import ServerConnection
from cluster.amqp.errors import not_found
from cluster.amqp.properties import BasicProperties
from cluster.amqp.settings import ConnectionSettings
from tests.amqp.client import HEADER, START_OK, frame, merged, method, publish, running, sent

SETTINGS = ConnectionSettings(message_size_max=20000)
ACKS = b"".join(method(2, m.BasicAck(tag, False)) for tag in range(1, 9))
SMALL = publish(1, b"abc") + publish(1, b"abd") + publish(1, b"") + publish(1, b"")
STREAM = b"".join(
    (
        HEADER,
        method(0, START_OK),
        method(0, m.ConnectionTuneOk(100, 4096, 60)),
        method(0, m.ConnectionOpen("/")),
        method(1, m.ChannelOpen()),
        method(2, m.ChannelOpen()),
        method(1, m.QueueDeclare("q", False, True, False, False, False, {"x-max-length": 5})),
        SMALL,
        publish(1, b"abe", "other"),
        publish(1, b"abe", "other", BasicProperties(message_id="1", headers={"a": [1, None]})),
        publish(1, bytes(10000), frame_max=4096),
        publish(1, bytes(5000), frame_max=300),
        SMALL,
        publish(2, b"on two"),
        ACKS,
        method(2, m.BasicAck(9, True)),
        ACKS,
        publish(2, b"on two"),
        frame(8, 0, b""),
        publish(1, bytes(20001), frame_max=4096),
        method(1, m.TxSelect()),
        publish(2, b"still there"),
        method(1, m.ChannelCloseOk()),
        method(1, m.ChannelOpen()),
        SMALL,
        method(1, m.ChannelClose(200, "", 0, 0)),
        method(0, m.ConnectionUpdateSecret(b"new", "why")),
    )
)
ENDINGS = (
    method(0, m.ConnectionClose(200, "bye", 0, 0)) + SMALL,
    frame(3, 2, b"x" * 40, end=0) + SMALL + method(0, m.ConnectionCloseOk()),
    frame(3, 2, bytes(5000)) + SMALL + method(0, m.ConnectionCloseOk()) + SMALL,
    frame(3, 2, bytes(5000)) + frame(3, 2, bytes(9000)) + SMALL + method(0, m.ConnectionCloseOk()),
    publish(2, b"abc")[:-1] + b"\x00" + method(0, m.ConnectionClose(200, "", 0, 0)),
    method(2, m.BasicAck(1, False))[:-1] + b"\x00" + b"no frame",
    method(2, m.BasicPublish("", "q", False, False)) + publish(1) + method(0, m.ConnectionCloseOk()),
    method(9, m.TxSelect()) + method(0, m.ConnectionCloseOk()) + SMALL,
    frame(1, 2, b"\x00\x3c\x00\x28\x00\x00\x01\xff\x00\x00") + SMALL,
)


def play(stream: bytes, sizes: Iterable[int]) -> tuple[list[ev.Event], list[object]]:
    """All events and all answers when `stream` comes in chunks of these sizes, the rest at once, then its end.

    The broker of this play lets everybody in and says nothing else, so every answer is the machine's own.
    """
    connection = ServerConnection(SETTINGS)
    seen: list[ev.Event] = []

    def handle(events: list[ev.Event]) -> None:
        for event in events:
            seen.append(event)
            match event:
                case ev.LoginRequest():
                    handle(connection.accept_login())
                case ev.OpenRequest():
                    handle(connection.accept_open())

    position = 0
    buffer = bytearray()
    for size in sizes:
        buffer[:] = stream[position : position + size]
        handle(connection.receive(memoryview(bytes(buffer)) if size % 2 else buffer))
        position += size
    handle(connection.receive(stream[position:]))
    handle(connection.eof())
    return merged(seen), list(sent(connection))


WHOLE = [play(STREAM + ending, ()) for ending in ENDINGS]


def test_the_stream_means_what_it_should() -> None:
    events, _ = WHOLE[0]
    assert [type(event).__name__ for event in events] == [
        "LoginRequest",
        "OpenRequest",
        "ChannelOpened",
        "ChannelOpened",
        "MethodReceived",
        "PublishBatch",
        "PublishBatch",
        "AckBatch",
        "MethodReceived",
        "AckBatch",
        "PublishBatch",
        "ChannelFailed",
        "PublishBatch",
        "ChannelOpened",
        "PublishBatch",
        "ChannelClosed",
        "SecretUpdated",
        "ConnectionCloseRequested",
        "ConnectionClosed",
    ]
    batch = events[5]
    assert isinstance(batch, ev.PublishBatch)
    small = [b"abc", b"abd", b"", b""]
    assert batch.bodies == [*small, b"abe", b"abe", bytes(10000), bytes(5000), *small]
    assert [m.BasicPublish.decode(payload).routing_key for payload in batch.methods[:7]] == ["q"] * 4 + [
        "other",
        "other",
        "q",
    ]
    acks = events[7]
    assert acks == ev.AckBatch(2, list(range(1, 9)))


@pytest.mark.parametrize("ending", range(len(ENDINGS)))
def test_octet_by_octet_is_the_same_as_all_at_once(ending: int) -> None:
    stream = STREAM + ENDINGS[ending]
    assert play(stream, [1] * len(stream)) == WHOLE[ending]


@pytest.mark.parametrize("size", [2, 3, 7, 8, 20, 21, 22, 64, 300, 4096])
def test_even_chunks_are_the_same_as_all_at_once(size: int) -> None:
    for ending, whole in zip(ENDINGS, WHOLE, strict=True):
        stream = STREAM + ending
        assert play(stream, [size] * (len(stream) // size)) == whole


@given(st.integers(0, len(ENDINGS) - 1), st.lists(st.integers(0, 3000) | st.integers(0, 40)))
def test_any_chunks_are_the_same_as_all_at_once(ending: int, sizes: list[int]) -> None:
    assert play(STREAM + ENDINGS[ending], sizes) == WHOLE[ending]


@pytest.mark.parametrize("cut", range(0, len(SMALL) + 1))
def test_a_run_cut_anywhere_continues(cut: int) -> None:
    stream = SMALL + publish(1, b"", "k") + publish(1, b"xyz", "k") + SMALL
    whole = merged(running(1).receive(stream))
    connection = running(1)
    assert merged(connection.receive(stream[:cut]) + connection.receive(stream[cut:])) == whole


def test_a_channel_that_the_broker_closes_between_chunks_is_deaf_in_the_next() -> None:
    connection = running(1, 2)
    assert len(connection.receive(publish(1))) == 1
    connection.channel_error(1, not_found("no exchange"))
    [batch] = connection.receive(publish(1) + publish(2) + method(1, m.BasicAck(1, False)))
    assert isinstance(batch, ev.PublishBatch)
    assert batch.channel == 2


PIECES = [
    publish(channel, body, routing_key, properties)
    for channel in (1, 2)
    for routing_key in ("q", "other")
    for properties in (BasicProperties(), BasicProperties(delivery_mode=2))
    for body in (b"", b"abc", bytes(60))
] + [method(channel, m.BasicAck(tag, tag == 3)) for channel in (1, 2) for tag in (1, 2, 3)]
SMALL_SETTINGS = ConnectionSettings(message_size_max=59)


def in_chunks(stream: bytes, sizes: Iterable[int], of: ConnectionSettings) -> tuple[list[ev.Event], list[bytes]]:
    connection = running(1, 2, settings=of)
    events: list[ev.Event] = []
    position = 0
    for size in [*sizes, len(stream)]:
        events += connection.receive(stream[position : position + size])
        position += size
    return merged(events), connection.take_output()


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=12),
    st.lists(st.integers(1, 200), max_size=12),
    st.booleans(),
)
@settings(max_examples=300)
def test_runs_are_scanned_as_frames_are_read_one_by_one(pieces: list[bytes], sizes: list[int], small: bool) -> None:
    stream = b"".join(pieces)
    limits = SMALL_SETTINGS if small else SETTINGS
    assert in_chunks(stream, sizes, limits) == in_chunks(stream, [1] * len(stream), limits)


@pytest.mark.parametrize(
    "stream",
    [
        publish(1, b"abc") + publish(1, b"abc"),
        publish(1, b"abc") + publish(1, b"abc", properties=BasicProperties()),
        publish(1, b"abc") + publish(1, b"abc", "other"),
        publish(1, b"") + publish(1, b""),
        method(1, m.BasicAck(1, False)) + method(1, m.BasicAck(2, False)) + method(1, m.BasicAck(3, True)),
    ],
    ids=["same", "other header", "other key", "empty", "acks"],
)
def test_a_changed_octet_in_a_run_is_seen_as_it_is_frame_by_frame(stream: bytes) -> None:
    for position in range(len(stream)):
        octet = stream[position]
        for other in {0, 1, 2, 3, 0x3C, 0x28, 0x50, 0xCE, 0xFF, octet - 1 & 255, octet + 1 & 255} - {octet}:
            changed = stream[:position] + bytes((other,)) + stream[position + 1 :]
            one_by_one = in_chunks(changed, [1] * len(changed), SETTINGS)
            assert in_chunks(changed, (), SETTINGS) == one_by_one, (position, other)
