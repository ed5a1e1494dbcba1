"""LMDB's list of free pages, which only who writes looks at, and no cursor of the binding walks.

Law: LMDB hands out what is in it without another look, and who is given a page that is in use overwrites it. So a list
is only sound as LMDB leaves it: every number is of a page that the file may have, each record is sorted downwards, and
no page is free twice.
"""

from __future__ import annotations

import struct

_PAGE = struct.Struct("<QHHHH")
"""Of a page's head: number, padding, flags, end of the places of nodes, begin of the nodes."""
_RUN = struct.Struct("<QHHI")
"""Of the head of a run of pages: number, padding, flags, pages."""
_NODE = struct.Struct("<HHHH")
"""Of a node's head: size of its data in two parts, flags, size of its key. The first three may be a child's number."""
_NUMBER = struct.Struct("<Q")
_P_BRANCH, _P_LEAF, _P_OVERFLOW = 0x01, 0x02, 0x04
_F_BIGDATA = 0x01
_NO_PAGE = (1 << 64) - 1
_FIRST_PAGE = 2
"""Behind the two meta pages."""
_DEPTH_MAX = 32


class DamagedList(Exception):
    """It is not as LMDB leaves it."""


class FreeList:
    """In the file `content`, of `pages` pages of `page_size` bytes as far as its meta page tells."""

    def __init__(self, content: memoryview, page_size: int, pages: int) -> None:
        self._content = content
        self._page_size = page_size
        self._pages = pages
        self._free: set[int] = set()

    def check(self, root: int) -> None:
        """The list whose tree begins in page `root`. Raises DamagedList, struct.error."""
        if root != _NO_PAGE:
            self._check_page(root, _DEPTH_MAX)

    def _check_page(self, number: int, depth: int) -> None:
        _demand(depth > 0 and _FIRST_PAGE <= number < self._pages)
        start = number * self._page_size
        own_number, _, flags, lower, upper = _PAGE.unpack_from(self._content, start)
        _demand(own_number == number and flags in (_P_BRANCH, _P_LEAF))
        _demand(_PAGE.size <= lower <= upper <= self._page_size)
        count = (lower - _PAGE.size) // 2
        for place in struct.unpack_from(f"<{count}H", self._content, start + _PAGE.size):
            _demand(upper <= place <= self._page_size - _NODE.size)
            if flags == _P_BRANCH:
                low, middle, high, _ = _NODE.unpack_from(self._content, start + place)
                self._check_page(low | middle << 16 | high << 32, depth - 1)
            else:
                self._check_record(start + place)

    def _check_record(self, start: int) -> None:
        low, high, flags, key_size = _NODE.unpack_from(self._content, start)
        size, data = low | high << 16, start + _NODE.size + key_size
        _demand(key_size == _NUMBER.size and flags in (0, _F_BIGDATA))
        if flags == _F_BIGDATA:
            (run,) = _NUMBER.unpack_from(self._content, data)
            _demand(_FIRST_PAGE <= run < self._pages)
            length = -(-(_RUN.size + size) // self._page_size)
            own_number, _, kind, pages = _RUN.unpack_from(self._content, run * self._page_size)
            _demand((own_number, kind) == (run, _P_OVERFLOW) and pages >= length)
            data = run * self._page_size + _RUN.size
        (count,) = _NUMBER.unpack_from(self._content, data)
        _demand(size >= (count + 1) * _NUMBER.size)
        before = self._pages
        for free in struct.unpack_from(f"<{count}Q", self._content, data + _NUMBER.size):
            _demand(_FIRST_PAGE <= free < before and free not in self._free)
            self._free.add(free)
            before = free


def _demand(holds: bool) -> None:
    if not holds:
        raise DamagedList
