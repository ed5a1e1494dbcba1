"""What the hot parts of the codec cost, in microseconds of one core per message.

Law: measures and prints, judges nothing. Run `python -m bench.micro_amqp`; the best of several rounds counts,
since anything slower is somebody else's work on the same machine. The targets are those of the design:
publish 2.4, single ack 1.1, deliver 0.8.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.connection import ServerConnection
from cluster.amqp.deliver import DeliveryEncoder
from cluster.amqp.frames import content_frames, method_frame
from cluster.amqp.properties import BasicProperties, encode_header, peek
from cluster.amqp.record import encode_record
from cluster.amqp.settings import ConnectionSettings

MESSAGES = 20_000
BODY = b"x" * 256
CHUNK_SIZE = 256 * 1024
ROUNDS = 7


def best(work: Callable[[], int]) -> float:
    """Microseconds per item of the fastest round; `work` returns how many items it did."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        count = work()
        fastest = min(fastest, (time.perf_counter() - start) / count)
    return fastest * 1e6


def running_connection() -> ServerConnection:
    connection = ServerConnection(ConnectionSettings())
    connection.receive(b"AMQP\x00\x00\x09\x01")
    connection.receive(method_frame(0, m.ConnectionStartOk({}, "PLAIN", b"\x00guest\x00guest", "en_US").encode()))
    connection.accept_login()
    connection.receive(method_frame(0, m.ConnectionTuneOk(2047, 131072, 0).encode()))
    connection.receive(method_frame(0, m.ConnectionOpen("/").encode()))
    connection.accept_open()
    connection.receive(method_frame(1, m.ChannelOpen().encode()))
    connection.take_output()
    return connection


def chunks(stream: bytes) -> Iterator[bytes]:
    return (stream[start : start + CHUNK_SIZE] for start in range(0, len(stream), CHUNK_SIZE))


def publish_stream(keys: int, vary_header: bool) -> bytes:
    frames = []
    for number in range(MESSAGES):
        method = m.BasicPublish("", f"queue.{number % keys}", False, False).encode()
        properties = BasicProperties(delivery_mode=2)
        if vary_header:
            properties = BasicProperties(
                content_type="application/json", delivery_mode=2, message_id=f"id-{number:08d}"
            )
        frames.append(content_frames(1, method, encode_header(len(BODY), properties), BODY, 131072))
    return b"".join(frames)


def parse(stream: bytes, size_of: Callable[[ev.Event], int]) -> Callable[[], int]:
    connection = running_connection()

    def work() -> int:
        return sum(size_of(event) for chunk in chunks(stream) for event in connection.receive(chunk))

    return work


def publishes(event: ev.Event) -> int:
    assert isinstance(event, ev.PublishBatch)
    return len(event.bodies)


def acks(event: ev.Event) -> int:
    assert isinstance(event, ev.AckBatch)
    return len(event.tags)


def peeks(stream: bytes) -> Callable[[], int]:
    connection = running_connection()
    headers = [
        header
        for chunk in chunks(stream)
        for event in connection.receive(chunk)
        if isinstance(event, ev.PublishBatch)
        for header in event.headers
    ]

    def work() -> int:
        for header in headers:
            peek(header)
        return len(headers)

    return work


def deliver(keys: int, as_view: bool, run: int) -> Callable[[], int]:
    records = [
        encode_record(
            m.BasicPublish("amq.topic", f"orders.{number % keys}", False, False).encode(),
            encode_header(len(BODY), BasicProperties(delivery_mode=2)),
            BODY,
        )
        for number in range(run)
    ]
    blob: bytes | memoryview = b"".join(records)
    if as_view:
        blob = memoryview(blob)
    sizes = [len(record) for record in records]
    encoder = DeliveryEncoder(1, "ctag1.0123456789abcdef", 131072)

    def work() -> int:
        for start in range(0, MESSAGES, run):
            out: list[bytes | memoryview] = []
            encoder.encode(out, start + 1, False, blob, sizes)
        return MESSAGES

    return work


def record(body: bytes) -> Callable[[], int]:
    method = m.BasicPublish("", "queue", False, False).encode()
    header = encode_header(len(body), BasicProperties(delivery_mode=2))

    def work() -> int:
        for _ in range(MESSAGES):
            encode_record(method, header, body)
        return MESSAGES

    return work


def main() -> None:
    ack_stream = b"".join(method_frame(1, m.BasicAck(tag, False).encode()) for tag in range(1, MESSAGES + 1))
    ack_pairs = b"".join(
        method_frame(1, m.BasicAck(tag, False).encode())
        + content_frames(1, m.BasicPublish("", "q", False, False).encode(), b"\x00\x3c" + bytes(12), b"", 4096)
        for tag in range(1, MESSAGES + 1)
    )
    same, keyed, varied = publish_stream(1, False), publish_stream(200, False), publish_stream(200, True)
    for title, work in (
        ("publish, one key, same header", parse(same, publishes)),
        ("publish, 200 keys, same header", parse(keyed, publishes)),
        ("publish, 200 keys, message ids", parse(varied, publishes)),
        ("single ack, runs", parse(ack_stream, acks)),
        ("ack and publish in turn, both", parse(ack_pairs, lambda event: int(isinstance(event, ev.AckBatch)))),
        ("peek, delivery mode only", peeks(same)),
        ("peek, content type and message id", peeks(varied)),
        ("encode record, 256 B", record(BODY)),
        ("deliver, runs of 300", deliver(1, False, 300)),
        ("deliver, runs of 300, view", deliver(1, True, 300)),
        ("deliver, 50 keys, runs of 300", deliver(50, False, 300)),
        ("deliver, runs of 1", deliver(1, False, 1)),
    ):
        print(f"{title:36} {best(work):6.2f} us")


if __name__ == "__main__":
    main()
