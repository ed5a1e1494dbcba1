"""What a proxy says of the client it brings: the PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt).

Law: a header is read to its end and not a byte further. What is no header is refused: it would be the proxy's bug, or a
client that came past the proxy. Who may come is not judged here, so the listener must be reachable for proxies only.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

import trio

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL_HEADER: Final = SIGNATURE + b"\x20\0\0\0"
"""Version 2, "no proxy": for clients of the node's own."""
_V1_BYTES_MAX: Final = 107
_V2_HEAD_BYTES: Final = 16
_V2_BYTES_MAX: Final = _V2_HEAD_BYTES + 4096
"""With what a proxy adds about TLS; a longer header is refused."""
_LOCAL, _PROXY = 0, 1
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_BYTES: Final = {_TCP4: 4, _TCP6: 16}
_V1_FAMILIES: Final = {"TCP4": IPv4Address, "TCP6": IPv6Address}


class BadProxyHeader(Exception):
    """The text says what is wrong, in a few words."""


class Ends(NamedTuple):
    """Addresses and ports as the client saw them."""

    client_host: str
    client_port: int
    host: str
    port: int


def header_size(data: bytes) -> int:
    """How long the header that begins so is, at least, in bytes: exact once `data` is that long.

    Raises BadProxyHeader.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        if len(data) < _V2_HEAD_BYTES:
            return _V2_HEAD_BYTES
        size = _V2_HEAD_BYTES + int.from_bytes(data[14:16])
        if size > _V2_BYTES_MAX:
            raise BadProxyHeader(f"a header of {size} bytes")
        return size
    if data[:6] != b"PROXY "[: len(data)]:
        raise BadProxyHeader(f"it begins with {data[:12]!r}")
    line, end, _ = data[:_V1_BYTES_MAX].partition(b"\r\n")
    if end:
        return len(line) + 2
    if len(data) >= _V1_BYTES_MAX:
        raise BadProxyHeader("a line without an end")
    return len(data) + 1


def parse_header(data: bytes) -> Ends | None:
    """A whole header; None when it names nobody, and the connection's own addresses hold. Raises BadProxyHeader."""
    return _parse_v2(data) if data.startswith(SIGNATURE) else _parse_v1(data)


def _parse_v1(data: bytes) -> Ends | None:
    words = data.removesuffix(b"\r\n").decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return None
    family = _V1_FAMILIES.get(words[1])
    if family is None or len(words) != 6:
        raise BadProxyHeader(f"{data[:40]!r} is no line of version 1")
    try:
        ours, theirs = family(words[2]), family(words[3])
    except ValueError as error:
        raise BadProxyHeader(str(error)) from None
    return Ends(str(ours), _port(words[4]), str(theirs), _port(words[5]))


def _port(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and int(word) < 65536):
        raise BadProxyHeader(f"{word!r} is no port")
    return int(word)


def _parse_v2(data: bytes) -> Ends | None:
    version, command = divmod(data[12], 16)
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise BadProxyHeader(f"version {version}, command {command}")
    size = _ADDRESS_BYTES.get(data[13])
    if command == _LOCAL or size is None:
        # A check of the proxy's own, or a kind of socket that has no such address.
        return None
    addresses = data[_V2_HEAD_BYTES:]
    if len(addresses) < 2 * size + 4:
        raise BadProxyHeader("addresses cut off")
    ports = addresses[2 * size :]
    return Ends(
        str(ip_address(addresses[:size])),
        int.from_bytes(ports[:2]),
        str(ip_address(addresses[size : 2 * size])),
        int.from_bytes(ports[2:4]),
    )


async def receive_header(sock: socket.socket) -> Ends | None:
    """From a new connection. Raises BadProxyHeader, OSError."""
    header = b""
    size = 1
    while len(header) < size:
        await trio.lowlevel.wait_readable(sock)
        try:
            ahead = sock.recv(max(size - len(header), _V1_BYTES_MAX), socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not ahead:
            raise BadProxyHeader("closed before its end" if header else "closed without one")
        size = header_size(header + ahead)
        header += sock.recv(min(size - len(header), len(ahead)))
    return parse_header(header)
