"""Packets wait here before they come in: a fixed time, and a random one more. Runs in a node's network namespace.

    python -m chaos.machine.delay_line DELAY_MS JITTER_MS

Law: every packet that the kernel puts into queue 0 gets its verdict, accept, when its time is over; with more jitter
than there is time between two packets, they change places. netem does the same in the kernels that have it; this asks
for nothing but nfnetlink_queue (linux/netfilter/nfnetlink_queue.h). It ends with whoever started it.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import struct
import sys
import time

_NETLINK_NETFILTER = 12
_QUEUE = 0
_PACKET, _VERDICT, _CONFIG = 0x300, 0x301, 0x302
_REQUEST = 1
_CONFIG_COMMAND, _CONFIG_PARAMETERS, _CONFIG_QUEUE_MAX = 1, 2, 3
_BIND, _COPY_META = 1, 1
_PACKET_HEADER, _VERDICT_HEADER = 1, 2
_ACCEPT = 1
_WAITING_MAX = 16_384
"""Packets that may wait; the kernel drops what comes beyond that."""
_RECEIVE_BYTES = 1 << 20
_HEAD = struct.Struct("=IHHII")
"""Length, type, flags, sequence, port."""
_FAMILY = struct.Struct("!BBH")
_ATTRIBUTE = struct.Struct("=HH")


def _message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    body = _FAMILY.pack(socket.AF_UNSPEC, 0, _QUEUE)
    for name, value in attributes:
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), name) + value + bytes(-len(value) % 4)
    return _HEAD.pack(_HEAD.size + len(body), kind, _REQUEST, 0, 0) + body


def _packet_ids(data: bytes) -> list[int]:
    """Of all packets that a datagram from the kernel announces."""
    found: list[int] = []
    while len(data) >= _HEAD.size:
        length, kind, *_ = _HEAD.unpack_from(data)
        at, end = _HEAD.size + _FAMILY.size, length
        while kind == _PACKET and at + _ATTRIBUTE.size <= end:
            size, name = _ATTRIBUTE.unpack_from(data, at)
            if name & 0x3FFF == _PACKET_HEADER:
                found.append(struct.unpack_from("!I", data, at + _ATTRIBUTE.size)[0])
                break
            at += size + -size % 4
        data = data[length + -length % 4 :]
    return found


def main() -> int:
    delay, jitter = [float(word) / 1000 for word in sys.argv[1:3]]
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    kernel.bind((0, 0))
    kernel.setblocking(False)
    for attribute in (
        (_CONFIG_COMMAND, struct.pack("!BxH", _BIND, socket.AF_INET)),
        (_CONFIG_PARAMETERS, struct.pack("!IB", 0, _COPY_META)),
        (_CONFIG_QUEUE_MAX, struct.pack("!I", _WAITING_MAX)),
    ):
        kernel.send(_message(_CONFIG, attribute))
    waiting: list[tuple[float, int]] = []
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            verdict = struct.pack("!II", _ACCEPT, heapq.heappop(waiting)[1])
            kernel.send(_message(_VERDICT, (_VERDICT_HEADER, verdict)))
        pause = max(0.0, waiting[0][0] - now) if waiting else None
        if not select.select([kernel], [], [], pause)[0]:
            continue
        try:
            data = kernel.recv(_RECEIVE_BYTES)
        except OSError:  # more than the socket holds: the kernel counts them as lost
            continue
        arrived = time.monotonic()
        for packet in _packet_ids(data):
            heapq.heappush(waiting, (arrived + delay + random.random() * jitter, packet))


if __name__ == "__main__":
    sys.exit(main())
