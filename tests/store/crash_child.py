"""The process that the crash test kills: it writes a history, and reports each write after it returned."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cluster.store.lmdb_store import LmdbStore

from .history import history


def main(path: Path, seed: int, done: int) -> None:
    """Go on after the first `done` writes of the history, for ever."""
    store = LmdbStore(path, map_size=1 << 17)
    os.write(1, b"open\n")
    for count, writes in enumerate(history(seed), start=1):
        if count > done:
            store.write(writes)
            os.write(1, b"%d\n" % count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
