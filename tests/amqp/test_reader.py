"""What is kept of a stream between chunks: never more than is waited for, and nothing of the caller's buffer."""

from __future__ import annotations

from cluster.amqp.reader import FrameReader


def test_a_frame_that_comes_octet_by_octet_is_joined_once_it_is_whole() -> None:
    reader = FrameReader()
    frame = bytes(index % 251 for index in range(1000))
    assert reader.add(frame[:7]) == frame[:7]
    reader.keep(frame[:7], 0, len(frame))
    for position in range(7, 999):
        assert reader.add(frame[position : position + 1]) is None
        assert len(reader) == position + 1
    assert reader.add(frame[999:]) == frame
    assert len(reader) == 0


def test_the_payload_of_a_refused_frame_is_dropped_without_being_kept() -> None:
    reader = FrameReader()
    reader.skip = 10**9 + 5
    for _ in range(1000):
        assert reader.add(bytes(10**6)) == b""
        assert len(reader) == 0
    assert reader.add(b"12345next") == b"next"
    assert reader.skip == 0


def test_the_callers_buffer_may_be_used_again() -> None:
    reader = FrameReader()
    buffer = bytearray(b"first")
    kept = reader.add(memoryview(buffer))
    assert kept == b"first"
    reader.keep(kept, 2, 8)
    buffer[:] = b"other"
    assert reader.add(buffer) == b"rstother"
    reader.keep(b"abc", 1, 10)
    assert reader.add(buffer) is None
    buffer[:] = b"XXXXX"
    assert reader.take() == b"bcother"


def test_held_input_comes_out_as_it_went_in() -> None:
    reader = FrameReader()
    reader.hold(b"one ")
    reader.hold(memoryview(b"two"))
    assert len(reader) == 7
    assert reader.take() == b"one two"
    assert reader.take() == b""
