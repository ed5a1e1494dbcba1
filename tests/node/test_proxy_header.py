"""The PROXY protocol: what haproxy's document allows is read, to its end and no further; the rest is refused."""

from __future__ import annotations

import random
import socket

import pytest
import trio
import trio.testing

from cluster.node.amqp.proxy_header import (
    LOCAL_HEADER,
    SIGNATURE,
    BadProxyHeader,
    Ends,
    header_size,
    parse_header,
    receive_header,
)

V4 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([10, 1, 2, 3, 10, 0, 0, 1]) + (40312).to_bytes(2) + (5672).to_bytes(2)
V6 = (
    SIGNATURE
    + b"\x21\x21\x00\x29"
    + bytes(15)
    + b"\x01"
    + b"\xfd"
    + bytes(14)
    + b"\x02"
    + (40312).to_bytes(2)
    + (5672).to_bytes(2)
    + b"\x04\x00\x02ab"
)
HEADERS = [
    (b"PROXY TCP4 10.1.2.3 10.0.0.1 40312 5672\r\n", Ends("10.1.2.3", 40312, "10.0.0.1", 5672)),
    (b"PROXY TCP6 ::1 fd00::2 40312 5672\r\n", Ends("::1", 40312, "fd00::2", 5672)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (V4, Ends("10.1.2.3", 40312, "10.0.0.1", 5672)),
    (V6, Ends("::1", 40312, "fd00::2", 5672)),
    (LOCAL_HEADER, None),
    (SIGNATURE + b"\x21\x31\x00\x00", None),
]


@pytest.mark.parametrize(("header", "ends"), HEADERS)
async def test_a_header_is_read_to_its_end_however_it_is_cut(header: bytes, ends: Ends | None) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    proxy, ours = socket.socketpair()
    ours.setblocking(False)
    data = header + b"AMQP\x00\x00\x09\x01"

    async def send() -> None:
        position = 0
        while position < len(data):
            end = position + rng.choice([1, 3, 16, 60])
            proxy.send(data[position:end])
            position = end
            await trio.testing.wait_all_tasks_blocked()

    with proxy, ours, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await receive_header(ours) == ends
        assert ours.recv(100) == b"AMQP\x00\x00\x09\x01"


@pytest.mark.parametrize(
    "data",
    [
        b"AMQP\x00\x00\x09\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 10.1.2.3 10.0.0.1 40312\r\n",
        b"PROXY TCP4 10.1.2.3 10.0.0.1 40312 70000\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY UDP4 10.1.2.3 10.0.0.1 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff" + bytes(100),
        V4[:20],
        b"",
    ],
)
async def test_what_is_no_header_is_refused(data: bytes) -> None:
    proxy, ours = socket.socketpair()
    ours.setblocking(False)
    with ours, trio.fail_after(5):
        with proxy:
            proxy.send(data)
        with pytest.raises(BadProxyHeader):
            await receive_header(ours)


def test_nothing_that_a_stranger_sends_raises_anything_else() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(3000):
        whole = bytearray(rng.choice(HEADERS)[0])
        for _ in range(rng.randrange(1, 4)):
            whole[rng.randrange(len(whole))] = rng.randrange(256)
        data = bytes(whole[: rng.randrange(1, len(whole) + 1)])
        try:
            if header_size(data) <= len(data):
                parse_header(data[: header_size(data)])
        except BadProxyHeader:
            pass
