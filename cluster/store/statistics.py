"""What a store tells about itself.

Law: numbers only, taken at one moment, cheap enough to be asked every second.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Sizes in bytes unless the name says pages. `used_bytes` is what holds data, `free_pages` is what the file
    has and the next writes will fill; the file itself never shrinks.

    `map_size` is address space, not memory. Pages that were read count in the process's RSS as shared, file
    backed and reclaimable: look at RssAnon for what the node really holds.
    """

    file_size: int
    used_bytes: int
    free_pages: int
    page_size: int
    map_size: int
    map_size_max: int
    map_grow_count: int
    commit_count: int
    """Transactions made durable since the store was opened."""
    last_commit_seconds: float
    """How long the last `write` took, from its first put to the end of its fsync."""
    tight_bytes: int = 0
    """`used_bytes` when data was refused though there was room, in pieces; 0: none was, since that was forgotten."""

    def capacity_bytes(self, disk_free_bytes: int) -> int:
        """What it could hold in all, on a disk with so much free."""
        return min(self.map_size_max, self.used_bytes + self.free_pages * self.page_size + disk_free_bytes)
