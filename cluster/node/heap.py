"""Gives memory back that the C library keeps after a peak.

Law: what is free in its heaps below something that is in use stays with the process until it is told to let go (glibc,
malloc_trim(3)): a node that had drained a deep queue, or had carried large messages, seemed to need it for ever, to its
cgroup and to its own alarm. It is told when so much more is free, or is in memory again, than after the last time. The
free end of a heap that it made for a thread it never gives back in that way, so there is one heap for all threads
(mallopt(3)). Where the C library is another, nothing is done.
"""

from __future__ import annotations

import ctypes

from cluster.node.alarms import resident_bytes
from cluster.raft.runtime.beat import next_beat

LOOK_SECONDS = 5.0
FREE_BYTES = 8 << 20
"""More than was free after the last time: giving it back costs about 0.1 ms a MiB."""
_M_ARENA_MAX = -8


class _Mallinfo2(ctypes.Structure):
    """See mallinfo(3)."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    ]


class Heap:
    """The C library's, of this process. Make it before any thread."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None)
        self._trim = getattr(library, "malloc_trim", None)
        self._info = getattr(library, "mallinfo2", None)
        if self._info is not None:
            self._info.restype = _Mallinfo2
            library.mallopt(_M_ARENA_MAX, 1)
        self._known_bytes = 0
        """Free after the last time, or at the least since: it is back with the kernel, or cannot be given."""
        self._resident_bytes = resident_bytes()
        """Likewise: what is free may have been in use in between."""

    def free_bytes(self) -> int:
        """In use by nobody. What is back with the kernel counts as well."""
        return int(self._info().fordblks) if self._info is not None else 0

    def look(self) -> bool:
        """Give back what is free, if it is much. True if it was."""
        free, resident = self.free_bytes(), resident_bytes()
        self._known_bytes = min(self._known_bytes, free)
        self._resident_bytes = min(self._resident_bytes, resident)
        has_come_back = free >= FREE_BYTES and resident - self._resident_bytes >= FREE_BYTES
        if self._trim is None or not (has_come_back or free - self._known_bytes >= FREE_BYTES):
            return False
        self._trim(0)
        self._known_bytes, self._resident_bytes = self.free_bytes(), resident_bytes()
        return True


async def keep_small(heap: Heap) -> None:
    """Until cancelled."""
    while True:
        await next_beat(LOOK_SECONDS)
        heap.look()
