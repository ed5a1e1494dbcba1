"""A look at a data file before LMDB believes it.

Law: nothing here changes the file. LMDB checks no page: a damaged meta page may take it back a transaction, which
would forget a vote, and a damaged tree may end the process. So the meta pages must follow each other as commits leave
them, and every key of every tree is walked in a child process, which may die of it, and reads the list of free pages
itself. Payloads are not read; each has its own checksum.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import resource
import struct
from pathlib import Path

import lmdb

from cluster.raft.storage import StorageCorrupt
from cluster.store.directory import DATA_NAME
from cluster.store.free_list import DamagedList, FreeList

_PAGE = struct.Struct("<QHHHH")
"""Of a page's head: number, padding, flags, two bounds (LMDB 0.9, little-endian, 64 bits)."""
_META = struct.Struct("<IIQQ")
"""Of a meta page, behind its head: magic, version, address, map size."""
_DATABASES_SIZE = 2 * 48
_TAIL = struct.Struct("<QQ")
"""Behind the two databases of a meta page: last page, transaction."""
_P_META = 0x08
_MAGIC = 0xBEEFC0DE
_VERSION = 1
_PAGE_SIZE_AT = _PAGE.size + _META.size
"""LMDB keeps the page size where the free list's database has its padding."""
_TAIL_AT = _PAGE_SIZE_AT + _DATABASES_SIZE
_ROOT_AT = _PAGE_SIZE_AT + 40
"""The first page of the free list's tree, the last number of its database."""
_ENDED_WELL = 0
_BAD_FREE_LIST = 2
_PAGES_FACTOR_MAX = 2
_PAGES_MORE_MAX = 1 << 14
"""A healthy file may end before the last page that was taken, when that is unused; not by so many."""


def check_file(path: Path, databases_max: int) -> None:
    """Look at the data file in `path`, which was in use. Raises StorageCorrupt, in one line."""
    data = path / DATA_NAME
    reason = _metas_wrong(data) or _trees_wrong(path, databases_max)
    if reason:
        raise StorageCorrupt(f"{data} is damaged: {reason}")


def _metas_wrong(data: Path) -> str:
    """What is wrong with the two meta pages; "" if nothing is."""
    with data.open("rb") as file:
        first = file.read(1 << 17)
    if len(first) < _PAGE_SIZE_AT + 4:
        return "it is cut off"
    (page_size,) = struct.unpack_from("<I", first, _PAGE_SIZE_AT)
    if page_size < 512 or page_size & (page_size - 1) or len(first) < 2 * page_size:
        return "the page size in its meta page is impossible"
    commits: list[tuple[int, int]] = []
    for number in (0, 1):
        start = number * page_size
        page, _, flags, _, _ = _PAGE.unpack_from(first, start)
        magic, version, _, _ = _META.unpack_from(first, start + _PAGE.size)
        (own_size,) = struct.unpack_from("<I", first, start + _PAGE_SIZE_AT)
        last_page, transaction = _TAIL.unpack_from(first, start + _TAIL_AT)
        if (page, flags, magic, version, own_size) != (number, _P_META, _MAGIC, _VERSION, page_size):
            return f"its meta page {number} is none"
        commits.append((transaction, last_page))
    even, odd = commits[0][0], commits[1][0]
    if abs(even - odd) > 1 or even % 2 or (odd % 2 == 0 and odd):
        return f"its meta pages are of transactions {even} and {odd}, which do not follow each other"
    (_, earlier), (_, last_page) = sorted(commits)
    pages = data.stat().st_size // page_size
    if last_page < earlier or last_page > _PAGES_FACTOR_MAX * pages + _PAGES_MORE_MAX:
        return f"it has {pages} pages, which is not what its meta pages say ({earlier + 1}, {last_page + 1})"
    return ""


def _trees_wrong(path: Path, databases_max: int) -> str:
    """What is wrong with its trees; "" if nothing is."""
    child = os.fork()
    if not child:
        status = 1
        try:
            # Its end is the answer; nobody wants to read about it.
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            status = _walk(path, databases_max)
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return f"a tree of it cannot be walked (signal {os.WTERMSIG(ended)})"
    if os.WEXITSTATUS(ended) == _BAD_FREE_LIST:
        return "its list of free pages is wrong"
    return "" if os.WEXITSTATUS(ended) == _ENDED_WELL else "a tree of it does not hold what it should"


def _walk(path: Path, databases_max: int) -> int:
    """In the child, whose memory goes with it: an exit status."""
    if not _is_free_list_sound(path / DATA_NAME):
        return _BAD_FREE_LIST
    with lmdb.open(str(path), readonly=True, lock=False, max_dbs=databases_max, readahead=False) as environment:
        with environment.begin() as txn, txn.cursor() as cursor:
            names = list(cursor.iternext(keys=True, values=False))
        if len(names) != environment.stat()["entries"]:
            return 1
        for name in names:
            database = environment.open_db(name, create=False)
            with environment.begin(db=database) as txn, txn.cursor() as cursor:
                last, found = b"", 0
                for key in cursor.iternext(keys=True, values=False):
                    if key <= last:
                        return 1
                    last = key
                    found += 1
                if found != txn.stat(database)["entries"]:
                    return 1
    return _ENDED_WELL


def _is_free_list_sound(data: Path) -> bool:
    """Of a file whose meta pages are right."""
    with (
        data.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        memoryview(mapped) as content,
    ):
        (page_size,) = struct.unpack_from("<I", content, _PAGE_SIZE_AT)
        tails = [(*_TAIL.unpack_from(content, meta + _TAIL_AT), meta) for meta in (0, page_size)]
        last_page, _, meta = max(tails, key=lambda tail: tail[1])
        (root,) = struct.unpack_from("<Q", content, meta + _ROOT_AT)
        try:
            FreeList(content, page_size, last_page + 1).check(root)
        except (DamagedList, struct.error):
            return False
    return True
