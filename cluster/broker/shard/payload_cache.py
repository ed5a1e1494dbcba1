"""The entries whose records a leader keeps in memory for deliveries.

Law: a cache of the log, never more. Entries leave it oldest first, when nothing in them is alive any more or when
the bytes are needed; one entry always fits, however large.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from cluster.broker.shard.entry import EntryPayloads


class PayloadCache:
    """Entries by log index. `bytes` is the size of those kept, `reads` how many were read from the log."""

    def __init__(self, load: Callable[[int], bytes], bytes_max: int) -> None:
        """`load(index)` gives the data of a live entry from the log."""
        self.bytes = 0
        self.reads = 0
        self._load = load
        self._bytes_max = bytes_max
        self._entries: dict[int, EntryPayloads] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, index: int) -> EntryPayloads:
        """A live entry, read from the log when it is not in memory. Raises EntryCorrupt."""
        payloads = self._entries.get(index)
        if payloads is None:
            self.reads += 1
            payloads = self.keep(index, self._load(index))
        return payloads

    def kept(self, index: int) -> EntryPayloads | None:
        """An entry that is in memory."""
        return self._entries.get(index)

    def look(self, index: int) -> EntryPayloads:
        """A live entry, read from the log and not kept: nobody is going to get it. Raises EntryCorrupt."""
        self.reads += 1
        return EntryPayloads(self._load(index))

    def keep(self, index: int, data: bytes) -> EntryPayloads:
        """An entry that will be wanted soon. Raises EntryCorrupt."""
        payloads = EntryPayloads(data)
        if index not in self._entries:
            self._entries[index] = payloads
            self.bytes += len(data)
        while self.bytes > self._bytes_max and len(self._entries) > 1:
            self._drop_oldest()
        return payloads

    def evict_dead(self, live: Container[int]) -> None:
        """Let go of entries at the old end that are not in `live`."""
        while self._entries and next(iter(self._entries)) not in live:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self.bytes -= len(self._entries.pop(next(iter(self._entries))).data)
