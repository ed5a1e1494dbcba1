"""What the C library keeps after a peak goes back to the kernel."""

from __future__ import annotations

import threading

import pytest

from cluster.node.alarms import resident_bytes
from cluster.node.heap import FREE_BYTES, Heap

PEAK_BYTES = 64 << 20
MESSAGE_BYTES = 16 << 20


def test_what_is_free_after_a_peak_is_given_back_once() -> None:
    heap = Heap()
    if not heap.free_bytes():
        pytest.skip("the C library is not glibc")
    heap.look()
    peak = [bytes(9000) for _ in range(PEAK_BYTES // 9000)]
    high = resident_bytes()
    pins = peak[::50]
    peak.clear()
    assert heap.free_bytes() > FREE_BYTES
    assert heap.look()
    assert resident_bytes() < high - PEAK_BYTES // 2, "though some of it is in use, here and there"
    assert not heap.look()
    again = [bytes(8000) for _ in range(PEAK_BYTES // 9000)]
    again.clear()
    assert heap.look(), "what was given back has been in use again, and is free as before"
    assert not heap.look()
    assert len(pins) > 100


def test_large_blocks_that_a_thread_has_freed_are_not_kept_for_it() -> None:
    heap = Heap()
    if not heap.free_bytes():
        pytest.skip("the C library is not glibc")
    is_measured = threading.Event()
    has_copied = threading.Event()

    def copy() -> None:
        for _ in range(4):
            first = bytes(MESSAGE_BYTES)
            second = bytearray(first)
            del first, second
        has_copied.set()
        is_measured.wait()

    heap.look()
    before = resident_bytes()
    writer = threading.Thread(target=copy)
    writer.start()
    has_copied.wait()
    heap.look()
    after = resident_bytes()
    is_measured.set()
    writer.join()
    assert after < before + MESSAGE_BYTES // 2
