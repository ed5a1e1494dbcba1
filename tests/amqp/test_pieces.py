"""Bodies of megabytes stay in the pieces they came in."""

from array import array

from cluster.amqp.channel import Channel
from cluster.amqp.constants import CLASS_BASIC
from cluster.amqp.deliver import DeliveryEncoder
from cluster.amqp.pieces import PIECES_MIN, Pieces, flat, gathered
from cluster.amqp.record import encode_record


def test_pieces_are_as_long_as_their_parts_and_become_one_byte_string_on_demand() -> None:
    pieces = Pieces((b"abc", b"", b"de"))
    assert len(pieces) == 5
    assert bytes(pieces) == b"abcde"


def test_only_what_has_a_large_one_in_parts_stays_in_parts() -> None:
    large = Pieces([bytes(PIECES_MIN)])
    assert gathered([b"a", b"b"], 2) == b"ab"
    kept = gathered([b"head", large, b"tail"], 8 + len(large))
    assert isinstance(kept, Pieces)
    assert kept.parts == [b"head", *large.parts, b"tail"]
    assert kept.parts[1] is large.parts[0]
    assert flat([b"a", large]) == [b"a", *large.parts]


def test_a_large_body_is_not_joined() -> None:
    channel = Channel(1)
    parts = [bytes(PIECES_MIN // 2), bytes(PIECES_MIN // 2)]
    channel.begin(b"method")
    channel.take_header(b"header", CLASS_BASIC, PIECES_MIN)
    assert [channel.take_body(part) for part in parts] == [False, True]
    _, _, body = channel.finish()
    assert isinstance(body, Pieces)
    assert [kept is part for kept, part in zip(body.parts, parts, strict=True)] == [True, True]


def test_a_large_delivery_is_frames_around_views_of_the_record() -> None:
    method = bytes((0, 60, 0, 40, 0, 0, 0, 1)) + b"q" + b"\0"
    small = encode_record(method, b"h" * 14, b"small")
    large = encode_record(method, b"h" * 14, bytes(range(256)) * 1024)
    blob = small + large + small
    sizes = array("I", [len(small), len(large), len(small)])
    out: list[bytes | memoryview] = []
    size = DeliveryEncoder(1, "tag", 4096).encode(out, 1, False, blob, sizes)
    copied: list[bytes | memoryview] = []
    encoder = DeliveryEncoder(1, "tag", 4096)
    offset = 0
    for tag, each in enumerate(sizes, start=1):
        encoder.encode(copied, tag, False, blob[offset : offset + each], [each])
        offset += each
    assert b"".join(out) == b"".join(copied)
    assert size == sum(map(len, out))
    assert sum(len(piece) for piece in out if type(piece) is memoryview) == 256 * 1024
