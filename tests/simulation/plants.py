"""Mistakes put into the cluster on purpose: what the simulation must find.

Law: each is a small one, of the kind that is made, and is taken out again when its context ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from heapq import heappush
from typing import Any, NamedTuple

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.shard import dead_letters, keeper, state
from cluster.broker.shard.arbiter import Arbiter, Words
from cluster.broker.shard.death import DeadLetter, Reason, die
from cluster.broker.shard.entry import Batch, EntryHead
from cluster.broker.shard.holder import Holder
from cluster.broker.shard.holdings import Holdings
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.leader import ShardLeader
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.messages import AttachedConsumer
from cluster.broker.shard.queue_state import QueueState
from cluster.broker.shard.settings import PLAIN
from cluster.broker.shard.state import Applied, ShardState
from cluster.broker.shard.stream import ShardStream
from cluster.broker.shard.tx_ops import TxId, TxOp, Word
from cluster.node import core
from cluster.node.catalog.awaited import Awaited
from cluster.node.catalog.client import CatalogClient
from cluster.node.catalog.freshness import Freshness
from cluster.node.shards.seat import Seat
from cluster.node.shards.view import CatalogView
from cluster.raft.messages import VoteRequest
from cluster.raft.storage import GroupWrite
from cluster.raft.types import NOBODY, EntryKind, GroupId, Term
from cluster.raft.watch import LeaderWatch
from cluster.store import chunk, record
from tests.patched import patched
from tests.simulation.casts import Cast
from tests.simulation.disk import Disk

Plant = Callable[[], AbstractContextManager[None]]


def fsync_skipped() -> AbstractContextManager[None]:
    """A write is called durable while it is in a cache that a crash empties."""
    return patched(Disk, "forgets", True)


def vote_not_persisted() -> AbstractContextManager[None]:
    """The term is written, and not whom this node has voted for in it."""
    carry_out = Disk.carry_out

    def forgetful(self: Disk, writes: Sequence[GroupWrite]) -> None:
        kept = []
        for write in writes:
            hard_state = write.hard_state
            kept.append(write if hard_state is None else replace(write, hard_state=replace(hard_state, vote=NOBODY)))
        carry_out(self, kept)

    return patched(Disk, "carry_out", forgetful)


@contextmanager
def dedup_off_by_one() -> Iterator[None]:
    """The batch that was done last is done again when it is sent again, by a leader and by the state alike."""
    batches, receive_batch = ShardState._batches, ShardLeader.receive_batch

    def eager(self: ShardLeader, batch: Batch) -> None:
        if self._received.get(batch.node) == (batch.incarnation, batch.number):
            self._received[batch.node] = (batch.incarnation, batch.number - 1)
        receive_batch(self, batch)

    def forgetful(self: ShardState, index: int, head: EntryHead, applied: Applied) -> None:
        for batch in head.batches:
            incarnation, last = self.sessions.get(batch.node, (0, 0))
            if (batch.incarnation, batch.number) == (incarnation, last):
                self.sessions[batch.node] = (incarnation, last - 1)
        batches(self, index, head, applied)

    with patched(ShardState, "_batches", forgetful), patched(ShardLeader, "receive_batch", eager):
        yield


def attachment_forgotten() -> AbstractContextManager[None]:
    """A new leader is told of the consumers, and not of what they hold."""
    attachment = Holdings.attachment

    def forgetful(self: Holdings, *told: Any) -> list[AttachedConsumer]:
        return [replace(consumer, held=()) for consumer in attachment(self, *told)]

    return patched(Holdings, "attachment", forgetful)


def settle_applied_twice() -> AbstractContextManager[None]:
    """What is settled is taken off its entry's count twice."""
    release = ShardState._release

    def eager(self: ShardState, queue: QueueState, gone: Sequence[Range]) -> None:
        release(self, queue, gone)
        release(self, queue, [part for part in gone if part[1] - part[0] > 1])

    return patched(ShardState, "_release", eager)


def batches_not_sent_again() -> AbstractContextManager[None]:
    """A new leader is not given the batches that the old one had not confirmed."""
    take_out = ShardStream.take_out

    def forgetful(self: ShardStream, **room: Any) -> Any:
        due = self._attach_due
        words = take_out(self, **room)
        if due and words is not None:
            words.batches = [batch for batch in words.batches if batch.number == self._number]
        return words

    return patched(ShardStream, "take_out", forgetful)


def nobody_awaited() -> AbstractContextManager[None]:
    """A new leader hands messages out before it has been told who holds them."""
    begin = Seat.begin

    def hasty(self: Seat, term: int) -> None:
        begin(self, term)
        assert self.leader is not None
        self.leader.all_attached()

    return patched(Seat, "begin", hasty)


@contextmanager
def stale_catalog_trusted() -> Iterator[None]:
    """Dead letters go where the catalog of the node says, if that is nowhere, and if it has just started, too."""
    init = CatalogView.__init__

    def trusting(self: CatalogView, catalog: Catalog, knows_dooms: Callable[[], bool]) -> None:
        init(self, catalog, knows_dooms)
        self.is_current = True

    with patched(CatalogView, "__init__", trusting), patched(CatalogView, "ask", lambda self: 0):
        yield


def transactions_refused_in_part() -> AbstractContextManager[None]:
    """Without a leader the publishes of a transaction are refused, and its end is confirmed."""

    def loose(self: ShardStream) -> None:
        self._open.held_together = True

    return patched(ShardStream, "hold_together", loose)


def given_up_without_asking() -> AbstractContextManager[None]:
    """A shard forgets what was prepared for a home node that is silent, without asking what became of it."""
    seek = Arbiter._seek

    def hasty(self: Arbiter, now_ms: int) -> Words:
        words = seek(self, now_ms)
        for tx in self._transactions.prepared:
            if self._is_due(tx, now_ms):
                self._proposals.verdict(TxOp.ABORT, tx)
        return words

    return patched(Arbiter, "_seek", hasty)


def decided_without_fence() -> AbstractContextManager[None]:
    """Who is asked about a transaction that it has not decided says that it never will, and writes nothing down."""
    hear = Arbiter.hear

    def hasty(self: Arbiter, shard: int, word: Word, tx: TxId) -> None:
        if word is Word.ASK and tx not in self._transactions.decisions:
            self._answers.append((shard, Word.ABORTED, tx))
        else:
            hear(self, shard, word, tx)

    return patched(Arbiter, "hear", hasty)


def snapshot_without_sessions() -> AbstractContextManager[None]:
    """Who takes a snapshot up does not know which batches were done."""
    restore = ShardState.restore

    def forgetful(self: ShardState, data: bytes) -> None:
        restore(self, data)
        self.sessions = {}

    return patched(ShardState, "restore", forgetful)


def catalog_not_asked() -> AbstractContextManager[None]:
    """A node that misses something takes its own copy of the catalog for the latest."""

    async def trusting(self: CatalogClient) -> None:
        await trio.lowlevel.checkpoint()

    return patched(CatalogClient, "catch_up", trusting)


def parted_not_awaited() -> AbstractContextManager[None]:
    """A change does not wait for who is not linked at this end, whatever the other end knows."""
    return patched(Awaited, "link_down", lambda self, peer, now: self._drop(peer))


def fresh_by_the_leader() -> AbstractContextManager[None]:
    """A copy that the leader calls the latest is taken for that, whoever else waits for it."""
    return patched(Freshness, "_askable", lambda self: [])


def death_for_another_reason() -> AbstractContextManager[None]:
    """Whatever a message dies of, its header says that it was too old."""

    def hasty(record: bytes, *, reason: Reason, **more: Any) -> DeadLetter:
        return die(record, reason=Reason.EXPIRED, **more)

    return patched(dead_letters, "die", hasty)


def age_of_a_neighbour() -> AbstractContextManager[None]:
    """A message expires when the one before it should."""
    deadline = keeper.Keeper._deadline
    return patched(keeper.Keeper, "_deadline", lambda self, queue, seq: deadline(self, queue, seq - 1))


def returned_once_at_most() -> AbstractContextManager[None]:
    """The second return of a message is counted as the first."""

    def forgetful(self: QueueState, first: int, end: int) -> list[Range]:
        parts = self.free_parts(first, end)
        for a, b in parts:
            self.returned.remove(a, b)
            self.returned.add(a, b)
        return parts

    return patched(QueueState, "give_back", forgetful)


def returned_twice() -> AbstractContextManager[None]:
    """A return is counted when it is carried out, and once more."""
    give_back = QueueState.give_back

    def eager(self: QueueState, first: int, end: int) -> list[Range]:
        give_back(self, first, end)
        return give_back(self, first, end)

    return patched(QueueState, "give_back", eager)


def returned_later() -> AbstractContextManager[None]:
    """What came back is ready again a while later."""
    give_back = LeaderQueue.give_back

    def lazy(self: LeaderQueue, parts: list[Range], node: int) -> None:
        give_back(self, parts, node)
        for first, end in parts if self.settings is not PLAIN else ():
            for a, b in self.ready.remove(first, end):
                self.delayed.add(a, b)
                for seq in range(a, b):
                    heappush(self.due, (self.stirred_ms + 500, seq))

    return patched(LeaderQueue, "give_back", lazy)


def refusals_of_one_batch() -> AbstractContextManager[None]:
    """What was refused is remembered of a home node's last batch only."""
    return patched(state, "REFUSALS_KEPT", 1)


def several_active() -> AbstractContextManager[None]:
    """Who comes to a queue with a single active consumer is active, too."""
    join = LeaderQueue.join

    def welcome(self: LeaderQueue, holder: Holder) -> None:
        join(self, holder)
        holder.waiting = False
        self.wake(holder)

    return patched(LeaderQueue, "join", welcome)


def suspicion_forgotten() -> AbstractContextManager[None]:
    """A new leader takes what its predecessor may have handed out for new."""
    init = LeaderQueue.__init__

    def trusting(self: LeaderQueue, *args: Any, **more: Any) -> None:
        init(self, *args, **more)
        self.suspect_below = 0

    return patched(LeaderQueue, "__init__", trusting)


@contextmanager
def checksum_not_looked_at() -> Iterator[None]:
    """An entry whose head is whole is believed."""

    def trusting(group: GroupId, index: int, stored: record.Buffer) -> tuple[EntryKind, Term]:
        _, kind, term = record._entry_header(group, index, stored)
        return EntryKind(kind), Term(term)

    with patched(record, "check_entry", trusting), patched(chunk, "check_entry", trusting):
        yield


def damaged_and_voting() -> AbstractContextManager[None]:
    """A replica whose log is taken from the others anew votes as if it had it."""
    may_vote = LeaderWatch.may_vote

    def eager(self: LeaderWatch, request: VoteRequest) -> bool:
        state = self._state
        if state.repair is None:
            return may_vote(self, request)
        return state.vote == request.source or (state.vote == NOBODY and state.leader == NOBODY)

    return patched(LeaderWatch, "may_vote", eager)


class Planted(NamedTuple):
    """`seeds`: within these it must be found; the first of them found it when this was written."""

    plant: Plant
    seeds: Sequence[int]
    cast: Cast = "common"
    kinds: tuple[str, ...] = ()
    """Of faults: those that show it. Without them whatever the seed picks."""
    seconds: float = 10.0
    """Of a play."""

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """Acks have entries of their own meanwhile: what goes wrong between two entries shows sooner."""
        with self.plant(), patched(core, "SETTLES_HELD_MAX", 0):
            yield


PLANTS = {
    "fsync skipped": Planted(fsync_skipped, range(5), kinds=("power_cut",)),
    "vote not persisted": Planted(vote_not_persisted, range(1)),
    "dedup off by one": Planted(dedup_off_by_one, range(1, 9), kinds=("crash", "move_leader", "reset")),
    "attachment forgotten": Planted(attachment_forgotten, range(5), kinds=("move_leader",)),
    "settle applied twice": Planted(settle_applied_twice, range(1)),
    "batches not sent again": Planted(batches_not_sent_again, range(5), kinds=("crash", "move_leader")),
    "nobody awaited": Planted(nobody_awaited, range(5), kinds=("move_leader",)),
    "snapshot without sessions": Planted(snapshot_without_sessions, range(4), kinds=("crash",)),
    "death for another reason": Planted(death_for_another_reason, range(3), "traits"),
    "age of a neighbour": Planted(age_of_a_neighbour, range(3), "traits"),
    "returned once at most": Planted(returned_once_at_most, range(3, 7), "traits"),
    "suspicion forgotten": Planted(suspicion_forgotten, range(4), kinds=("power_cut", "crash")),
    "returned twice": Planted(returned_twice, range(3), "traits"),
    "returned later": Planted(returned_later, range(1, 4), "traits", ("move_leader",)),
    "refusals of one batch": Planted(refusals_of_one_batch, range(3), "full", ("crash", "slow_disk", "reset")),
    "several active": Planted(several_active, range(3), "traits"),
    "given up without asking": Planted(given_up_without_asking, range(1, 5), "transactions", ("crash",)),
    "transactions refused in part": Planted(
        transactions_refused_in_part, range(8, 12), "transactions", ("isolate",), seconds=15.0
    ),
    "decided without fence": Planted(
        decided_without_fence, range(4, 9), "transactions", ("seclude", "slow_disk"), seconds=15.0
    ),
    "checksum not looked at": Planted(checksum_not_looked_at, range(2), kinds=("torn",)),
    "damaged and voting": Planted(damaged_and_voting, range(11, 16), kinds=("torn", "crash", "move_leader")),
    "catalog not asked": Planted(catalog_not_asked, range(6), "definitions", ("slow_link",)),
    "parted not awaited": Planted(parted_not_awaited, range(6), "routes", ("part", "slow_link"), seconds=25.0),
    "fresh by the leader": Planted(fresh_by_the_leader, range(6), "routes", ("part", "slow_link"), seconds=25.0),
    "stale catalog trusted": Planted(stale_catalog_trusted, (18, 30, 37), "definitions", ("latecomer",), seconds=15.0),
}
"""By mistake. Each is found in seconds."""
