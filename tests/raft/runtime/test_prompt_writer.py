import threading

import pytest
import trio

from cluster.raft.runtime import prompt_writer as p
from cluster.raft.runtime.prompt_writer import PromptWriter
from cluster.raft.storage import GroupWrite, StorageFull
from cluster.raft.types import Entry, EntryKind, GroupId, HardState, LogIndex, NodeId, SnapshotMeta, Term
from tests.raft.disk import members


class Disk:
    """A storage that takes `seconds` of its own clock for a write, and remembers the thread of each."""

    def __init__(self):
        self.now = 1000.0
        self.seconds = 0.001
        self.error = None
        self.threads = []

    def clock(self):
        return self.now

    def write(self, writes):
        self.now += self.seconds
        self.threads.append(threading.current_thread())
        if self.error is not None:
            raise self.error


class Bench:
    """A writer over such a disk, and what it says."""

    def __init__(self):
        self.disk = Disk()
        self.writer = PromptWriter(self.disk, self.disk.clock)
        self.writer.is_attended = True
        self.ended = []
        self._told = trio.Event()

    def settled(self):
        """Long after the start."""
        self.disk.now += p.SLOW_SECONDS_AGO
        return self

    def done(self, ended):
        self.ended.append(ended)
        self._told.set()

    async def write(self, *writes):
        """One write to its end. True if it was prompt."""
        self._told = trio.Event()
        self.writer.submit(writes or [entries(100)], self.done)
        assert not self._told.is_set(), "told from within the call"
        was_held = self.writer.carry_out()
        with trio.fail_after(5):
            await self._told.wait()
        is_here = self.disk.threads[-1] is threading.current_thread()
        assert is_here == was_held
        return is_here


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    bench.writer.close()


def entries(size, group=1):
    return GroupWrite(GroupId(group), entries=[Entry(Term(1), LogIndex(1), EntryKind.COMMAND, bytes(size))])


async def test_small_writes_to_a_quick_disk_are_carried_out_at_the_end_of_the_turn(bench):
    assert await bench.settled().write()
    vote = GroupWrite(GroupId(2), HardState(Term(2), NodeId(1), LogIndex(0)))
    assert await bench.write(entries(100), vote)
    assert [ended.seconds for ended in bench.ended] == [pytest.approx(0.001)] * 2
    assert not bench.writer.carry_out()


async def test_nothing_is_prompt_before_the_disk_is_known(bench):
    assert not await bench.write()
    assert await bench.settled().write()


async def test_nothing_is_prompt_while_nobody_attends(bench):
    bench.settled().writer.is_attended = False
    assert not await bench.write()


async def test_a_large_write_and_what_follows_it_at_once_go_to_the_thread(bench):
    assert not await bench.settled().write(entries(p.PROMPT_BYTES_MAX + 1))
    assert not await bench.write()
    bench.disk.now += p.BUSY_SECONDS_AGO
    assert await bench.write()


async def test_a_write_of_many_groups_goes_to_the_thread(bench):
    many = [entries(1, group) for group in range(p.PROMPT_GROUPS_MAX + 1)]
    assert not await bench.settled().write(*many)


async def test_snapshots_and_deletions_go_to_the_thread(bench):
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
    first = prompt.index(False)
    assert prompt[first + 1 :].count(True) > 0, "the thread measured real time, in which this disk is quick"


async def test_a_prompt_write_that_fails_says_so_like_any_other(bench):
    bench.settled().disk.error = StorageFull("full")
    assert await bench.write()
    with pytest.raises(StorageFull):
        bench.ended[-1].result.unwrap()
