"""One kind of marks of a queue's messages: values by sequence number, in chunks.

Law: a frozen copy costs a look at each chunk, and a chunk that one has is copied before it changes. What is settled
together goes chunk by chunk, and its memory with it. No chunk is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

_CHUNK_BITS = 12


class MarkValues(Mapping[int, int]):
    """seq -> value."""

    __slots__ = ("_chunks", "_count", "_shared")

    def __init__(self) -> None:
        self._chunks: dict[int, dict[int, int]] = {}
        """By what its sequence numbers have in common; which come in any order inside."""
        self._shared: set[int] = set()
        """Chunks that a frozen copy has."""
        self._count = 0

    @classmethod
    def of_pairs(cls, pairs: Sequence[int]) -> MarkValues:
        """From (seq, value), one after the other."""
        values = cls()
        for i in range(0, len(pairs), 2):
            values.put(pairs[i], pairs[i + 1])
        return values

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        for chunk in self._chunks.values():
            yield from chunk

    def __getitem__(self, seq: int) -> int:
        return self._chunks[seq >> _CHUNK_BITS][seq]

    def value(self, seq: int) -> int | None:
        """None: it has no such mark."""
        chunk = self._chunks.get(seq >> _CHUNK_BITS)
        return chunk.get(seq) if chunk is not None else None

    def within(self, first: int, end: int) -> list[int]:
        """Who in `[first, end)` has one, ascending."""
        if end - first < 1 << _CHUNK_BITS:
            return [seq for seq in range(first, end) if self.value(seq) is not None]
        numbers = range(first >> _CHUNK_BITS, (end - 1 >> _CHUNK_BITS) + 1)
        chunks = [chunk for number, chunk in self._chunks.items() if number in numbers]
        return sorted([seq for chunk in chunks for seq in chunk if first <= seq < end])

    def put(self, seq: int, value: int) -> None:
        number = seq >> _CHUNK_BITS
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = {}
        elif number in self._shared:
            chunk = self._own(number)
        self._count += seq not in chunk
        chunk[seq] = value

    def remove(self, first: int, end: int) -> None:
        """Forget the marks of `[first, end)`."""
        numbers = range(first >> _CHUNK_BITS, (end - 1 >> _CHUNK_BITS) + 1)
        few = numbers if len(numbers) <= len(self._chunks) else list(self._chunks)
        for number in few:
            if number in self._chunks and number in numbers:
                self._remove(number, first, end)

    def frozen(self) -> list[dict[int, int]]:
        """The chunks as they are now, ascending. Never to be changed."""
        self._shared = set(self._chunks)
        return [self._chunks[number] for number in sorted(self._chunks)]

    def _remove(self, number: int, first: int, end: int) -> None:
        begin = number << _CHUNK_BITS
        chunk = self._chunks[number]
        low, high = max(first, begin), min(end, begin + (1 << _CHUNK_BITS))
        before = len(chunk)
        if high - low < 1 << _CHUNK_BITS:
            if number in self._shared:
                chunk = self._own(number)
            for seq in range(low, high):
                chunk.pop(seq, None)
            self._count -= before - len(chunk)
            if chunk:
                return
        else:
            self._count -= before
        del self._chunks[number]
        self._shared.discard(number)

    def _own(self, number: int) -> dict[int, int]:
        self._shared.discard(number)
        chunk = self._chunks[number] = self._chunks[number].copy()
        return chunk
