"""A TLS connection behaves as a non-blocking socket does, whatever its kernel buffers take at a time."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
import trio

from cluster.node.links.outbox import Flushed, Outbox
from cluster.node.tls import Certificates, TlsSocket
from tests.node.tls.authority import Authority

LOCALHOST = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.issue("node", LOCALHOST, "localhost")
    return made


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> Certificates:
    return Certificates(authority.section("node"))


def raw_pair(buffer_bytes: int = 0) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
        if buffer_bytes:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    return pair


async def sealed_pair(certificates: Certificates, buffer_bytes: int = 0) -> tuple[TlsSocket, TlsSocket]:
    """The dialler's end and the listener's."""
    dialler, listener = raw_pair(buffer_bytes)
    ends: dict[str, TlsSocket] = {}

    async def dial() -> None:
        ends["dialler"] = await certificates.dialled(dialler, LOCALHOST)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial)
            ends["listener"] = await certificates.accepted(listener)
    return ends["dialler"], ends["listener"]


async def read(sock: TlsSocket, count: int) -> bytes:
    data = b""
    with trio.fail_after(20):
        while len(data) < count:
            await trio.lowlevel.wait_readable(sock)
            try:
                part = sock.recv(1 << 18)
            except BlockingIOError:
                continue
            assert part, f"ended after {len(data)} of {count}"
            data += part
    return data


async def test_what_a_client_sends_with_the_end_of_its_handshake_is_readable(certificates: Certificates) -> None:
    dialler, listener = raw_pair()

    async def dial_and_speak() -> None:
        sealed = await certificates.dialled(dialler, LOCALHOST)
        assert sealed.send(b"AMQP\x00\x00\x09\x01") == 8

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial_and_speak)
        sealed = await certificates.accepted(listener)
        assert await read(sealed, 8) == b"AMQP\x00\x00\x09\x01"


async def test_whatever_the_kernel_takes_at_a_time_the_bytes_arrive_in_order(certificates: Certificates) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    sender, receiver = await sealed_pair(certificates, 4096)
    buffers: list[bytes | memoryview] = [rng.randbytes(rng.choice([1, 2, 7, 300, 70_000, 400_000])) for _ in range(40)]
    whole = b"".join(buffers)

    async def write() -> None:
        while buffers:
            try:
                sent = sender.sendmsg(buffers[:16])
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sender)
                continue
            while buffers and sent >= len(buffers[0]):
                sent -= len(buffers.pop(0))
            if sent:
                buffers[0] = memoryview(buffers[0])[sent:]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await read(receiver, len(whole)) == whole


async def test_what_overtakes_in_an_outbox_does_not_tear_a_frame_apart(certificates: Certificates) -> None:
    sender, receiver = await sealed_pair(certificates, 4096)
    outbox = Outbox(bulk_bytes_max=1 << 30, control_bytes_max=1 << 20)
    sizes = [3, 200_000, 50_000, 2, 90_000]
    for n, size in enumerate(sizes):
        outbox.put([(b"[", bytes([65 + n]) * size, b"]")], control=False)
    count = 0

    async def write() -> None:
        nonlocal count
        while outbox.waiting_bytes:
            flushed, _ = outbox.flush(sender)  # type: ignore[arg-type]
            if flushed is Flushed.BLOCKED:
                outbox.put([(b"(c)",)], control=True)
                count += 1
                await trio.lowlevel.wait_writable(sender)
            else:
                await trio.lowlevel.checkpoint()

    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        bulk = sum(sizes) + 2 * len(sizes)
        while len(got.replace(b"(c)", b"")) < bulk:
            got += await read(receiver, 1)
    assert count, "nothing overtook anything"
    assert got.replace(b"(c)", b"") == b"".join(b"[" + bytes([65 + n]) * size + b"]" for n, size in enumerate(sizes))


async def test_the_end_that_the_other_side_says_is_the_end_here(certificates: Certificates) -> None:
    sender, receiver = await sealed_pair(certificates)
    sender.send(b"last words")
    sender.close()
    sender.close()
    assert await read(receiver, 10) == b"last words"
    with trio.fail_after(5):
        await trio.lowlevel.wait_readable(receiver)
        assert receiver.recv(100) == b""


async def test_who_is_dialled_has_to_be_who_answers(certificates: Certificates) -> None:
    dialler, listener = raw_pair()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(OSError):
                await certificates.accepted(listener)

        nursery.start_soon(accept)
        with pytest.raises(OSError, match="mismatch"):
            await certificates.dialled(dialler, "elsewhere.example.com")


async def test_a_node_of_another_authority_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    stranger = Authority(tmp_path)
    stranger.issue("node", LOCALHOST)
    theirs = Certificates(stranger.section("node"))
    dialler, listener = raw_pair()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(OSError):
                await certificates.accepted(listener)

        nursery.start_soon(accept)
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await theirs.dialled(dialler, LOCALHOST)


async def test_who_speaks_no_tls_is_refused_at_once(certificates: Certificates) -> None:
    dialler, listener = raw_pair()
    dialler.send(b"AMQP\x00\x00\x09\x01")
    with trio.fail_after(2), pytest.raises(OSError, match="SSL"):
        await certificates.welcomed(listener)


async def test_a_certified_client_has_a_name(authority: Authority) -> None:
    authority.issue("alice")
    server = Certificates(authority.section("node", verify="optional"))
    client = Certificates(authority.section("alice"))
    dialler, listener = raw_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.dialled, dialler, LOCALHOST)
        sealed = await server.welcomed(listener)
    assert (sealed.peer_name, sealed.version) == ("alice", "TLSv1.3")
