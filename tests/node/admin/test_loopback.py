"""What the management interface reads as an AMQP client of its own node."""

from __future__ import annotations

import struct
from typing import Any

import trio.testing

from cluster.amqp import methods as m
from cluster.amqp.constants import CLASS_BASIC, FRAME_BODY, FRAME_HEADER
from cluster.amqp.frames import method_frame
from cluster.amqp.properties import BasicProperties
from cluster.node.admin.loopback import Loopback, loopback


async def test_a_message_whose_headers_cannot_be_read_is_shown_without_properties() -> None:
    near, far = trio.testing.memory_stream_pair()
    table = b"\x01\xffS\0\0\0\x02\xff\xfe"
    header = struct.pack(">HHQH", CLASS_BASIC, 0, 1, 0x2000) + struct.pack(">I", len(table)) + table
    await far.send_all(method_frame(1, m.BasicGetOk(7, False, "", "q", 0).encode()))
    for kind, payload in ((FRAME_HEADER, header), (FRAME_BODY, b"x")):
        await far.send_all(struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce")
    stream: Any = near
    got = await Loopback(stream).get("q", no_ack=False)
    assert got is not None
    assert (got.delivery_tag, got.properties, got.body) == (7, BasicProperties(), b"x")


async def test_a_publish_that_is_confirmed_has_succeeded_though_an_alarm_lets_nothing_more_be_heard() -> None:
    near, far = trio.testing.memory_stream_pair()
    for channel, method in (
        (0, m.ConnectionStart(0, 9, {}, b"PLAIN", b"en_US")),
        (0, m.ConnectionTune(1, 131072, 0)),
        (0, m.ConnectionOpenOk()),
        (1, m.ChannelOpenOk()),
        (1, m.ConfirmSelectOk()),
        (1, m.BasicAck(1, False)),
    ):
        await far.send_all(method_frame(channel, method.encode()))
    stream: Any = near
    async with loopback(stream, "guest", "guest", "/") as client:
        assert await client.publish("", "q", BasicProperties(), b"x")
