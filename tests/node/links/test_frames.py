import random

import pytest

from cluster.amqp.pieces import Pieces
from cluster.node.links.frames import FRAGMENT, FrameReader, Packer, encode_message, unpack_body
from cluster.node.links.interface import ProtocolViolation


def wire(kind, body, frame_bytes_max=256 << 10):
    return b"".join(b"".join(frame) for frame in encode_message(kind, Packer().pack(body), frame_bytes_max))


def reader(frame_bytes_max=256 << 10, message_bytes_max=1 << 20):
    return FrameReader(frame_bytes_max=frame_bytes_max, message_bytes_max=message_bytes_max)


def test_many_frames_in_one_read_come_out_in_order():
    data = wire(1, [1, b"a"]) + wire(2, None) + wire(239, {"k": "v"})
    assert reader().feed(data) == [(1, [1, b"a"]), (2, None), (239, {"k": "v"})]


def test_frames_survive_any_cut_of_the_stream():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(50):
        bodies = [[n, chance.randbytes(chance.choice((0, 3, 900, 5000)))] for n in range(20)]
        data = b"".join(wire(7, body, 1000) for body in bodies)
        got, position, frames = [], 0, reader(1000)
        while position < len(data):
            step = chance.choice((1, 2, 5, 1000, 8000))
            got += frames.feed(data[position : position + step])
            position += step
        assert got == [(7, body) for body in bodies]
        assert frames.is_between_messages


@pytest.mark.parametrize("size", [998, 999, 1000, 1001, 2000, 2001, 3000])
def test_a_body_at_the_border_of_the_frame_limit_arrives_whole(size):
    body = bytes(size)
    assert reader(1000).feed(wire(9, body, 1000)) == [(9, body)]


def test_every_frame_of_a_long_body_respects_the_limit():
    frames = encode_message(3, [bytes(10_500)], 1000)
    assert len(frames) == 11
    assert max(sum(map(len, frame)) for frame in frames) <= 4 + 1 + 1 + 1000


def test_a_control_frame_may_stand_between_fragments():
    first, last = (b"".join(frame) for frame in encode_message(3, Packer().pack(bytes(1500)), 1000))
    assert reader(1000).feed(first + wire(4, "now", 1000) + last) == [(4, "now"), (3, bytes(1500))]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00\x01",
        b"\xff\xff\xff\xff\x01",
        b"\x00\x00\x00\x02\x01\xc1",
        b"\x00\x00\x00\x03\x01\x01\x01",
        b"\x00\x00\x00\x01\x01",
        b"\x00\x00\x00\x01\xff",
        b"\x00\x00\x00\x02\xff\xfe",
    ],
    ids=["empty", "too long", "not msgpack", "two values", "no value", "no kind", "fragment in fragment"],
)
def test_bad_frames_are_protocol_violations(data):
    with pytest.raises(ProtocolViolation):
        reader().feed(data)


def test_fragments_without_end_are_bounded():
    frames = reader(1000, message_bytes_max=3000)
    piece = b"\x00\x00\x03\xe9" + bytes((FRAGMENT,)) + bytes(1000)
    frames.feed(piece * 3)
    with pytest.raises(ProtocolViolation, match="fragmented message over 3000 bytes"):
        frames.feed(piece)


def test_large_byte_strings_are_carried_as_they_are_and_not_copied():
    large = bytes(range(256)) * 1024
    body = [[1, 7, [large, None, b"small"]], {"a": b"x"}, large, ("tuple", large[:70_000]), 2.5]
    pieces = Packer().pack(body)
    assert [piece is large for piece in pieces].count(True) == 2
    unpacked = [[1, 7, [large, None, b"small"]], {"a": b"x"}, large, ["tuple", large[:70_000]], 2.5]
    assert unpack_body(b"".join(pieces)) == unpacked


def test_what_lies_between_large_byte_strings_is_one_piece():
    body = [*range(5000), bytes(70_000), *(str(number) for number in range(5000)), bytes(70_000)]
    pieces = Packer().pack(body)
    assert len(pieces) == 4
    assert unpack_body(b"".join(pieces)) == body


@pytest.mark.parametrize("frame_bytes_max", [1000, 65_536, 65_541, 131_072, 1 << 20])
def test_pieces_are_fragments_of_any_size(frame_bytes_max):
    body = [1, bytes(65_536), [b"between", bytes(100_000)], "end"]
    frames = reader(frame_bytes_max=frame_bytes_max)
    assert frames.feed(wire(3, body, frame_bytes_max)) == [(3, body)]
    assert frames.is_between_messages


def test_views_and_pieces_are_not_copied_and_arrive_as_byte_strings():
    large = bytes(range(256)) * 1024
    body = [1, memoryview(large)[1:], [Pieces((large, b"x", large)), "end"]]
    pieces = Packer().pack(body)
    assert [piece for piece in pieces if piece is large] == [large, large]
    arrived = [1, large[1:], [large + b"x" + large, "end"]]
    assert reader(message_bytes_max=4 << 20).feed(wire(3, body)) == [(3, arrived)]
