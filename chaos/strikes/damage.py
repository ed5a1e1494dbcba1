"""Bits that change on a disk by themselves.

Law: what is damaged is known page by page, so that what nobody repairs can be taken back: a page that still is what the
damage made of it becomes what it was. A page that the store has written anew is left as it is; it may hold the damage
still, or a copy of it may, and the node may meet that when the fault is over.
"""

from __future__ import annotations

from chaos.strikes.processes import KillOne

_PAGE_BYTES = 4096
_FIRST_PAGE = 2
"""The two before it say where everything is; without them a store is not damaged, but none."""
PAGES = 24


class BitFlip(KillOne):
    """Bits flip in a node's store while it is down; it may notice when it reads them, and may hand out none of them."""

    hold_seconds = (5.0, 15.0)

    def begin(self) -> None:
        super().begin()
        grounds, node = self.field.grounds, self.struck.down[0]
        self._file = grounds.nodes[node].directory / "data" / "store" / "data.mdb"
        self._pages: list[tuple[int, bytes, bytes]] = []
        """(offset, before, damaged)."""
        pages = self._file.stat().st_size // _PAGE_BYTES
        with self._file.open("r+b") as file:
            for number in sorted(self.field.random.sample(range(_FIRST_PAGE, pages), min(PAGES, pages - _FIRST_PAGE))):
                file.seek(number * _PAGE_BYTES)
                before = file.read(_PAGE_BYTES)
                place = self.field.random.randrange(len(before))
                damaged = bytearray(before)
                damaged[place] ^= 1 << self.field.random.randrange(8)
                file.seek(number * _PAGE_BYTES)
                file.write(damaged)
                self._pages.append((number * _PAGE_BYTES, before, bytes(damaged)))
        grounds.start(node)

    def end(self) -> None:
        self.field.grounds.kill(self.struck.down[0])
        untouched = 0
        with self._file.open("r+b") as file:
            for offset, before, damaged in self._pages:
                file.seek(offset)
                if file.read(_PAGE_BYTES) == damaged:
                    file.seek(offset)
                    file.write(before)
                    untouched += 1
        anew = len(self._pages) - untouched
        self.field.note(f"{anew} of {len(self._pages)} damaged pages were written anew")
        if anew:
            self.field.grounds.scarred.add(self.struck.down[0])
        super().end()
