"""Packed columns: numbers of one kind side by side, as entries hold them.

Law: little-endian, u32 or u64. A table is a column of rows, one after the other; what is not made of whole rows, or
points beyond its batch, is damage.
"""

from __future__ import annotations

import sys
from array import array

assert array("I").itemsize == 4
assert array("Q").itemsize == 8


class EntryCorrupt(Exception):
    """An entry that cannot be read: another version, or not an entry at all."""


def pack_column(values: array[int]) -> bytes:
    """Little-endian bytes of a column."""
    if sys.byteorder == "big":
        values = array(values.typecode, values)
        values.byteswap()
    return values.tobytes()


def pack_numbers(numbers: list[int]) -> bytes:
    """The bytes of a u64 column."""
    return pack_column(array("Q", numbers)) if numbers else b""


def unpack_column(typecode: str, data: bytes) -> array[int]:
    """The column back from `pack_column`."""
    values: array[int] = array(typecode)
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def check_column(data: object, row_bytes: int) -> None:
    """Raises EntryCorrupt unless it is made of whole rows."""
    if type(data) is not bytes or len(data) % row_bytes:
        raise EntryCorrupt("a column is cut off")


NOTHING: array[int] = array("Q")
"""For columns that are empty, as most are. Never changed."""


def triples(data: object) -> array[int]:
    """Rows of three. Raises EntryCorrupt."""
    check_column(data, 24)
    return unpack_column("Q", data)  # type: ignore[arg-type]


def quadruples(data: object) -> array[int]:
    """Rows of four. Raises EntryCorrupt."""
    check_column(data, 32)
    return unpack_column("Q", data)  # type: ignore[arg-type]


def check_marks(marks: array[int], slots: int) -> None:
    """Triples (slot, Mark, value). Raises EntryCorrupt."""
    for i in range(0, len(marks), 3):
        if marks[i] >= slots:
            raise EntryCorrupt("a mark points beyond its batch")


def check_runs(runs: array[int], slots: int) -> None:
    """Triples (queue, first slot, count). Raises EntryCorrupt."""
    for i in range(0, len(runs), 3):
        if not 0 < runs[i + 2] <= slots - runs[i + 1]:
            raise EntryCorrupt("a run reaches beyond its batch")
