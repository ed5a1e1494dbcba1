import threading
import weakref

import pytest
import trio

from cluster.raft.runtime import prompt_writer as p
from cluster.raft.runtime.prompt_writer import PromptWriter
from cluster.raft.runtime.writer import ThreadWriter
from cluster.raft.storage import GroupWrite, StorageFull
from cluster.raft.types import Entry, EntryKind, GroupId, HardState, LogIndex, NodeId, SnapshotMeta, Term
from tests.raft.disk import members


class Disk:
    """A storage that takes `seconds` of its own clock for a write, once it is `awake`."""

    def __init__(self):
        self.now = 1000.0
        self.seconds = 0.001
        self.error = None
        self.awake = threading.Event()
        self.awake.set()

    def clock(self):
        return self.now

    def write(self, writes):
        assert self.awake.wait(5)
        self.now += self.seconds
        if self.error is not None:
            raise self.error


class Bench:
    """A writer over such a disk, and what it says."""

    def __init__(self, patience_seconds=5):
        self.disk = Disk()
        self.writer = PromptWriter(self.disk, self.disk.clock, patience_seconds)
        self.writer.is_attended = True
        self.ended = []
        self.told = trio.Event()

    def settled(self):
        """Long after the start."""
        self.disk.now += p.SLOW_SECONDS_AGO
        return self

    def done(self, ended):
        self.ended.append(ended)
        self.told.set()

    async def write(self, *writes):
        """One write to its end. True if it was waited for."""
        self.told = trio.Event()
        self.writer.submit(writes or [entries(100)], self.done)
        assert not self.told.is_set(), "told from within the call"
        self.writer.carry_out()
        was_prompt = self.told.is_set()
        with trio.fail_after(5):
            await self.told.wait()
        return was_prompt


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    bench.writer.close()


def entries(size, group=1):
    return GroupWrite(GroupId(group), entries=[Entry(Term(1), LogIndex(1), EntryKind.COMMAND, bytes(size))])


async def test_a_large_write_also_begins_at_the_end_of_the_turn(bench, monkeypatch):
    given = []
    monkeypatch.setattr(ThreadWriter, "submit", lambda _, writes, done: given.append(writes))
    large = [entries(p.PROMPT_BYTES_MAX + 1)]
    bench.writer.submit(large, bench.done)
    assert not given
    bench.writer.carry_out()
    assert given == [large]


async def test_small_writes_to_a_quick_disk_are_waited_for_at_the_end_of_the_turn(bench):
    assert await bench.settled().write()
    vote = GroupWrite(GroupId(2), HardState(Term(2), NodeId(1), LogIndex(0)))
    assert await bench.write(entries(100), vote)
    assert [ended.seconds for ended in bench.ended] == [pytest.approx(0.001)] * 2
    bench.writer.carry_out()
    assert len(bench.ended) == 2


async def test_nothing_is_prompt_before_the_disk_is_known(bench):
    assert not await bench.write()
    assert await bench.settled().write()


async def test_nothing_is_prompt_while_nobody_attends(bench):
    bench.settled().writer.is_attended = False
    assert not await bench.write()


async def test_a_large_write_and_what_follows_it_at_once_are_not_waited_for(bench):
    assert not await bench.settled().write(entries(p.PROMPT_BYTES_MAX + 1))
    assert not await bench.write()
    bench.disk.now += p.BUSY_SECONDS_AGO
    assert await bench.write()


async def test_a_write_of_many_groups_is_not_waited_for(bench):
    many = [entries(1, group) for group in range(p.PROMPT_GROUPS_MAX + 1)]
    assert not await bench.settled().write(*many)


async def test_snapshots_and_deletions_are_not_waited_for(bench):
    meta = SnapshotMeta(LogIndex(5), Term(1), members(1))
    assert not await bench.settled().write(GroupWrite(GroupId(1), snapshot=(meta, b"")))
    bench.disk.now += p.BUSY_SECONDS_AGO
    assert not await bench.write(GroupWrite(GroupId(1), delete_entries=[LogIndex(1)]))


async def test_after_a_slow_write_the_loop_does_not_wait_for_the_disk_for_a_while(bench):
    bench.settled().disk.seconds = p.SLOW_SECONDS * 2
    assert await bench.write(), "nobody could know"
    bench.disk.seconds = 0.001
    assert not await bench.write()
    bench.disk.now += p.SLOW_SECONDS_AGO
    assert await bench.write()


async def test_the_loop_does_not_wait_for_a_disk_that_is_slow_on_average(bench):
    bench.settled().disk.seconds = p.QUICK_SECONDS * 2
    prompt = [await bench.write() for _ in range(40)]
    assert prompt[0], "nobody could know"
    assert prompt == sorted(prompt, reverse=True)
    assert not prompt[-1]
    bench.disk.seconds = 0.001
    assert [await bench.write() for _ in range(40)][-1], "and waits again when it is quick again"


async def test_the_loop_goes_on_when_the_disk_stalls_and_hears_of_the_write_later():
    bench = Bench(p.PATIENCE_SECONDS)
    bench.settled().disk.awake.clear()
    bench.writer.submit([entries(100)], bench.done)
    bench.writer.carry_out()
    assert not bench.ended
    bench.disk.awake.set()
    with trio.fail_after(5):
        await bench.told.wait()
    assert len(bench.ended) == 1
    bench.writer.close()


async def test_a_prompt_write_that_fails_says_so_like_any_other(bench):
    bench.settled().disk.error = StorageFull("full")
    assert await bench.write()
    with pytest.raises(StorageFull):
        bench.ended[-1].result.unwrap()


class Writes(list):
    """A weak reference can tell how long they are held."""


async def test_what_was_written_is_not_held_until_the_next_write():
    writer = ThreadWriter(Disk())
    ended = trio.Event()
    is_gone = threading.Event()
    writes = Writes([entries(100)])
    weakref.finalize(writes, is_gone.set)
    writer.submit(writes, lambda _: ended.set())
    del writes
    with trio.fail_after(5):
        await ended.wait()
    assert is_gone.wait(5)
    writer.close()
