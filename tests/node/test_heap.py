"""What the C library keeps after a peak goes back to the kernel."""

from __future__ import annotations

import subprocess
import sys

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


COPIES_IN_A_THREAD = f"""
import threading
from cluster.node.alarms import resident_bytes
from cluster.node.heap import Heap

heap = Heap()
has_copied, is_measured = threading.Event(), threading.Event()

def copy():
    for _ in range(4):
        message = bytearray(bytes({MESSAGE_BYTES}))
        copied = bytes(message)
        del message, copied
    has_copied.set()
    is_measured.wait()

heap.look()
before = resident_bytes()
threading.Thread(target=copy).start()
has_copied.wait()
heap.look()
print(resident_bytes() - before)
is_measured.set()
"""


def test_large_messages_that_a_thread_has_copied_are_given_back() -> None:
    if not Heap().free_bytes():
        pytest.skip("the C library is not glibc")
    run = subprocess.run([sys.executable, "-c", COPIES_IN_A_THREAD], capture_output=True, text=True, check=True)
    assert int(run.stdout) < MESSAGE_BYTES // 2
