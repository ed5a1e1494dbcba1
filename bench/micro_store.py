"""What a round of the store costs on this disk, and what its choices were measured against.

    python bench/micro_store.py [--directory DIR] [--rounds N] [--commits] [--busy] [--flags] [--reads] [--snapshot]

Without a choice: commits and reads.

commits   one entry of 4, 64, 256 KiB for 1 and 8 groups: milliseconds of a `write`, median and 99th percentile
busy      the same while the main thread never rests, at several thread switch intervals
flags     LMDB alone, one transaction of the same shape: sync modes, writable map, two records for an entry
reads     microseconds of `payload`, `term`, `initial_state`; RSS before and after everything was read
snapshot  a 50 MB index: seconds to write, to read, and RSS
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb

from cluster.raft.storage import GroupWrite
from cluster.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    GroupId,
    HardState,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)
from cluster.store.lmdb_group import LmdbGroup
from cluster.store.lmdb_store import LmdbStore

SHAPES = [(kib << 10, groups) for groups in (1, 8) for kib in (4, 64, 256)]
KEPT = 50
"""Entries a group keeps: older ones are deleted as new ones come, as on a node that runs for long."""
WARM_UP = 20
Round = Callable[[int], None]


def show(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    median, late = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    print(f"{name:58} median {median * 1e3:7.3f} ms   p99 {late * 1e3:7.3f} ms", flush=True)


def timed(rounds: int, act: Round) -> list[float]:
    """Seconds of each `act(n)`, the first ones left out."""
    found: list[float] = []
    for number in range(1, rounds + WARM_UP + 1):
        start = time.perf_counter()
        act(number)
        found.append(time.perf_counter() - start)
    return found[WARM_UP:]


def fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    return directory


def store_round(store: LmdbStore, size: int, group_count: int) -> Round:
    """One entry and the hard state of every group, and the deletion of what is too old."""
    body = os.urandom(size)
    groups = [GroupId(number) for number in range(1, group_count + 1)]
    configuration = Configuration((NodeId(1),))

    def act(number: int) -> None:
        writes = []
        for group in groups:
            entry = Entry(Term(1), LogIndex(number), EntryKind.COMMAND, body)
            hard_state = HardState(Term(1), NodeId(1), LogIndex(number - 1))
            write = GroupWrite(group, hard_state=hard_state, entries=[entry])
            if number > KEPT:
                old = LogIndex(number - KEPT)
                snapshot = (SnapshotMeta(old, Term(1), configuration), b"")
                write = GroupWrite(
                    group,
                    hard_state=hard_state,
                    entries=[entry],
                    snapshot=snapshot,
                    delete_entries=[old],
                )
            writes.append(write)
        store.write(writes)

    return act


def bench_commits(directory: Path, rounds: int) -> None:
    for size, groups in SHAPES:
        store = LmdbStore(fresh(directory))
        name = f"LmdbStore, {groups} groups x {size >> 10} KiB"
        show(name, timed(rounds, store_round(store, size, groups)))
        store.close()


def bench_busy(directory: Path, rounds: int) -> None:
    default = sys.getswitchinterval()
    for interval in (default, 0.0005, 0.0001):
        sys.setswitchinterval(interval)
        for size, groups in SHAPES:
            store = LmdbStore(fresh(directory))
            found: list[float] = []
            act = store_round(store, size, groups)
            writer = threading.Thread(target=lambda act=act, found=found: found.extend(timed(rounds, act)))
            writer.start()
            while writer.is_alive():
                sum(range(200))
            show(f"busy, switch interval {interval * 1e3:g} ms, {groups} groups x {size >> 10} KiB", found)
            store.close()
    sys.setswitchinterval(default)


def raw_round(env: lmdb.Environment, size: int, group_count: int, two_records: bool, after: bool) -> Round:
    trees = [env.open_db(b"%d" % number) for number in range(group_count)]
    body = os.urandom(size)

    def act(number: int) -> None:
        with env.begin(write=True) as txn:
            for tree in trees:
                header = struct.pack(">IIQ", zlib.crc32(body), 0, number)
                key = struct.pack(">Q", 2 * number)
                if two_records:
                    txn.put(key, header, append=True, db=tree)
                    txn.put(struct.pack(">Q", 2 * number + 1), body, append=True, db=tree)
                else:
                    txn.put(key, header + body, append=True, db=tree)
                for old in (2 * (number - KEPT), 2 * (number - KEPT) + 1):
                    if old > 0:
                        txn.delete(struct.pack(">Q", old), db=tree)
        if after:
            env.sync(True)

    return act


def bench_flags(directory: Path, rounds: int) -> None:
    for size, groups in SHAPES:
        for name, metasync, sync, writemap, two_records in (
            ("durable", True, True, False, False),
            ("durable, writable map", True, True, True, False),
            ("durable, header and data apart", True, True, False, True),
            ("meta page not synced (loses the last commit)", False, True, False, False),
            ("nothing synced, then one sync (not crash safe)", True, False, False, False),
        ):
            env = lmdb.open(
                str(fresh(directory)),
                map_size=1 << 30,
                max_dbs=16,
                readahead=False,
                metasync=metasync,
                sync=sync,
                writemap=writemap,
            )
            act = raw_round(env, size, groups, two_records, after=not sync)
            show(f"{groups} x {size >> 10} KiB, {name}", timed(rounds, act))
            env.close()


def resident() -> str:
    """Anonymous and file backed memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return ", ".join(" ".join(line.split()) for line in lines if line.startswith(("RssAnon", "RssFile")))


def each_microseconds(name: str, count: int, act: Callable[[int], object]) -> None:
    start = time.perf_counter()
    for number in range(count):
        act(number)
    print(f"{name:58} {(time.perf_counter() - start) / count * 1e6:8.2f} us", flush=True)


def read_payload(group: LmdbGroup, number: int) -> object:
    return group.payload(LogIndex(number + 1))


def read_term(group: LmdbGroup, number: int) -> object:
    return group.term(LogIndex(number + 1))


def read_state(group: LmdbGroup, _: int) -> object:
    return group.initial_state()


def bench_reads(directory: Path, rounds: int) -> None:
    store = LmdbStore(fresh(directory))
    print("empty:", resident())
    for number, size in enumerate((256, 4 << 10, 64 << 10, 256 << 10), start=1):
        group = store.group(GroupId(number))
        body = os.urandom(size)
        log = [Entry(Term(1), LogIndex(n), EntryKind.COMMAND, body) for n in range(1, 1001)]
        for first in range(0, 1000, 100):
            store.write([GroupWrite(GroupId(number), entries=log[first : first + 100])])
        each_microseconds(f"payload of {size} bytes", 1000, partial(read_payload, group))
        each_microseconds(f"term of an entry of {size} bytes", 1000, partial(read_term, group))
        each_microseconds("initial_state", 1000, partial(read_state, group))
    each_microseconds("statistics", 200, lambda _: store.statistics())
    print("325 MB written and read:", resident())
    store.close()


def bench_snapshot(directory: Path, rounds: int) -> None:
    store = LmdbStore(fresh(directory))
    body = os.urandom(50_000_000)
    meta = SnapshotMeta(LogIndex(0), Term(0), Configuration((NodeId(1),)))
    print("before:", resident())
    for _ in range(5):
        start = time.perf_counter()
        store.write([GroupWrite(GroupId(1), snapshot=(meta, body))])
        print(f"write {time.perf_counter() - start:.3f} s, {resident()}")
    start = time.perf_counter()
    assert store.group(GroupId(1)).snapshot_index() == body
    print(f"read {time.perf_counter() - start:.3f} s, {resident()}, {store.statistics()}")
    store.close()


BENCHES = {
    "commits": bench_commits,
    "busy": bench_busy,
    "flags": bench_flags,
    "reads": bench_reads,
    "snapshot": bench_snapshot,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in BENCHES:
        parser.add_argument(f"--{name}", action="append_const", const=name, dest="which", help="run it")
    parser.add_argument("--directory", type=Path, default=Path("build/micro_store"))
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    options.directory.parent.mkdir(parents=True, exist_ok=True)
    for name in options.which or ["commits", "reads"]:
        BENCHES[name](options.directory, options.rounds)
    fresh(options.directory)


if __name__ == "__main__":
    main()
