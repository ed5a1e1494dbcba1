"""What a member does while it leads: replicate, commit, confirm reads, change members, hand over.

Law: it exists from a won election to the end of the term as leader and is thrown away then. It commits by
counting only entries of its own term (Raft paper §5.4.2), counts itself only for what is durable here
(Raft thesis §10.2.1), and stops leading when it has not heard from a quorum for `election_ticks`.
Messages are made when the driver collects them, so that one append carries all that came in between.
"""

from __future__ import annotations

from cluster.raft.handover import Handover
from cluster.raft.heartbeats import Heartbeats
from cluster.raft.membership import (
    all_members,
    encode_configuration,
    enter_change,
    is_joint,
    is_voter,
    leave_joint,
    quorum_value,
)
from cluster.raft.messages import (
    Append,
    AppendReply,
    HeartbeatReply,
    RepairReply,
    RepairRequest,
    SnapshotChunkReply,
)
from cluster.raft.progress import Progress, ProgressState
from cluster.raft.reads import ReadQueue
from cluster.raft.ready import ProposalDropped, ReplicaStatus
from cluster.raft.retention import Retention
from cluster.raft.snapshot_sender import SnapshotSender
from cluster.raft.state import GroupState
from cluster.raft.storage import Compacted
from cluster.raft.types import Configuration, Entry, EntryKind, LogIndex, NodeId


class Leadership:
    """One term of leading. `has_work`: `collect` may have something to send."""

    __slots__ = (
        "_handover",
        "_heartbeats",
        "_news_due",
        "_news_waits",
        "_opening_index",
        "_progress",
        "_reads",
        "_retention",
        "_snapshots",
        "_state",
        "_ticks",
        "has_work",
        "uncommitted_bytes",
    )

    def __init__(self, state: GroupState) -> None:
        self._state = state
        self._ticks = 0
        self._progress: dict[NodeId, Progress] = {}
        self._reads = ReadQueue(state)
        self._snapshots = SnapshotSender(state)
        self._retention = Retention(state)
        self._heartbeats = Heartbeats(state)
        # Some follower does not know of a commit: it will hear of it after the next tick, or now.
        self._news_waits = False
        self._news_due = not state.config.patient_commit_news
        self._handover = Handover(state)
        self.uncommitted_bytes = 0
        self.has_work = True
        self._adopt_members()
        # The entry that opens the term: only with it can entries of earlier terms be committed.
        self._opening_index = self._append(EntryKind.NOOP, b"")

    # -- proposals

    def propose(self, data: bytes) -> LogIndex:
        self._handover.refuse_proposals()
        size = len(data)
        if self.uncommitted_bytes and self.uncommitted_bytes + size > self._state.config.max_uncommitted_bytes:
            raise ProposalDropped(f"{self.uncommitted_bytes} bytes wait for a quorum already")
        self.uncommitted_bytes += size
        return self._append(EntryKind.COMMAND, data)

    def propose_mark(self, mark: bytes) -> LogIndex:
        self._handover.refuse_proposals()
        self.uncommitted_bytes += len(mark)
        return self._append(EntryKind.NOOP, mark)

    def propose_configuration(self, target: Configuration) -> LogIndex:
        self._handover.refuse_proposals()
        membership, commit_index = self._state.membership, self._state.log.commit_index
        if is_joint(membership.current) or membership.current_index > commit_index:
            raise ProposalDropped("a configuration change is in progress")
        if commit_index < self._opening_index:
            raise ProposalDropped("the leader has not committed an entry of its term yet")
        return self._append_configuration(enter_change(membership.current, target))

    def _append(self, kind: EntryKind, data: bytes) -> LogIndex:
        state = self._state
        index = LogIndex(state.log.last_index + 1)
        state.log.append(Entry(state.term, index, kind, data))
        self.has_work = True
        return index

    def _append_configuration(self, configuration: Configuration) -> LogIndex:
        state = self._state
        entry = Entry(
            state.term,
            LogIndex(state.log.last_index + 1),
            EntryKind.CONFIG,
            encode_configuration(configuration),
        )
        state.append([entry])
        self.uncommitted_bytes += len(entry.data)
        self._adopt_members()
        self.has_work = True
        return entry.index

    def _adopt_members(self) -> None:
        state, known = self._state, self._progress
        next_index = LogIndex(state.log.last_index + 1)
        self._progress = {
            peer: known.get(peer) or Progress(state.config, next_index, self._ticks)
            for peer in all_members(state.configuration)
            if peer != state.node
        }
        self._handover.members_changed()

    # -- sending

    def collect(self) -> None:
        """Put into the outbox what the peers may have now."""
        self.has_work = False
        state, heartbeats = self._state, self._heartbeats
        if self._reads.last_round_wanted > heartbeats.round:
            heartbeats.send_round(self._progress)
        commit_index = state.log.commit_index
        batches: dict[LogIndex, list[Entry]] = {}
        for peer, progress in self._progress.items():
            self._replicate(peer, progress, batches)
            if commit_index > progress.commit_sent:
                # No append was about to carry it.
                self._tell_commit(peer, progress)
        self._news_due = not state.config.patient_commit_news

    def _replicate(self, peer: NodeId, progress: Progress, batches: dict[LogIndex, list[Entry]]) -> None:
        state, log = self._state, self._state.log
        while progress.may_append():
            first = progress.next_index
            prev_index = LogIndex(first - 1)
            entries: list[Entry] | None = []
            if first <= log.last_index:
                entries = batches.get(first)
            elif progress.state is not ProgressState.PROBE:
                return
            prev_term = log.known_term(prev_index)
            if entries is None and prev_term is not None:
                entries = self._read(first)
            is_late = progress.needed_index < log.first_index and self._retention.is_stuck(progress, self._ticks)
            if entries is None or prev_term is None or is_late:
                self._snapshots.begin(peer, progress, self._ticks)
                return
            batches[first] = entries
            last_index = LogIndex(prev_index + len(entries))
            state.outbox.append(
                Append(
                    state.group,
                    state.node,
                    peer,
                    state.term,
                    prev_index,
                    prev_term,
                    log.commit_index,
                    entries,
                )
            )
            progress.sent(last_index, sum([len(entry.data) for entry in entries]))
            progress.commit_sent = max(progress.commit_sent, min(log.commit_index, last_index))

    def _read(self, first: LogIndex) -> list[Entry] | None:
        """Entries for one append; None if they were compacted."""
        try:
            return self._state.log.read(first, self._state.config.max_append_bytes)
        except Compacted:
            return None

    def _tell_commit(self, peer: NodeId, progress: Progress) -> None:
        state = self._state
        log = state.log
        if min(progress.match_index, log.commit_index) > progress.commit_sent:
            if self._news_due:
                self._heartbeats.send(peer, progress, 0)
            else:
                self._news_waits = True
        elif not state.config.patient_commit_news and progress.has_been_sent(log.commit_index):
            # It applies what its disk is still busy with, if its log agrees.
            prev_index = LogIndex(progress.next_index - 1)
            prev_term = log.known_term(prev_index)
            if prev_term is not None:
                state.outbox.append(
                    Append(state.group, state.node, peer, state.term, prev_index, prev_term, log.commit_index, [])
                )
                progress.commit_sent = log.commit_index

    @property
    def wants_snapshot(self) -> bool:
        """See `Retention.is_in_vain`."""
        return self._retention.is_in_vain(self._progress, self._ticks)

    def snapshot_created(self, index: LogIndex) -> None:
        self._retention.snapshot_created(index, self._progress, self._ticks)

    def holds_snapshot(self, index: LogIndex, *, is_short: bool) -> bool:
        """True while a peer is taking the latest snapshot in, which a newer one would interrupt, or needs entries that
        one at `index` would take away, and space is not short here.

        A peer that takes nothing in is not waited for for long: its disk must not fill this one.
        """
        is_receiving = any(progress.is_receiving(self._ticks) for progress in self._progress.values())
        return is_receiving or (not is_short and self._retention.is_needed(index, self._progress, self._ticks))

    # -- answers

    def append_replied(self, reply: AppendReply) -> None:
        progress = self._progress.get(reply.source)
        if progress is None:
            return
        progress.heard_tick = self._ticks
        if reply.rejected:
            hint = self._state.log.divergence(reply.hint_index, reply.hint_term)
            if progress.rejected(reply.index, hint):
                self.has_work = True
            return
        assert reply.index <= self._state.log.last_index, "a peer acknowledges what was never sent"
        if progress.accepted(reply.index):
            progress.moved_tick = self._ticks
            self.advance_commit()
            self._handover.go_on(self._progress)
        self.has_work = True

    def heartbeat_replied(self, reply: HeartbeatReply) -> None:
        progress = self._progress.get(reply.source)
        if progress is None:
            return
        progress.heard_tick = self._ticks
        if progress.match_index == self._state.log.last_index:
            progress.moved_tick = self._ticks
        if progress.reported(reply.last_index):
            self.has_work = True
        if reply.round > progress.round:
            progress.round = reply.round
            if self._reads.is_waiting():
                self._reads.confirmed(self._heartbeats.quorum_round(self._progress))

    def chunk_replied(self, reply: SnapshotChunkReply) -> None:
        progress = self._progress.get(reply.source)
        if progress is None:
            return
        progress.heard_tick = self._ticks
        if self._snapshots.replied(progress, reply, self._ticks):
            self.advance_commit()
            self.has_work = True

    def repair_requested(self, request: RepairRequest) -> None:
        """A peer lost its log: whatever it acknowledged is not known to be there any more."""
        progress = self._progress.get(request.source)
        if progress is None:
            return
        progress.heard_tick = self._ticks
        progress.connected()
        self.has_work = True
        state = self._state
        base = state.membership.at(state.log.snapshot_index)
        state.outbox.append(
            RepairReply(state.group, state.node, request.source, state.term, request.nonce, state.log.last_index, base)
        )

    # -- committing

    def advance_commit(self) -> None:
        """Commit what a quorum has; called whenever anyone, this member included, has more on disk."""
        state, log = self._state, self._state.log
        index = quorum_value(state.configuration, self._match_of)
        # Every entry from the opening one on is of this term; figure 8 is why nothing else counts.
        if index <= log.commit_index or index < self._opening_index:
            return
        if self.uncommitted_bytes:
            self._forget_uncommitted(log.commit_index, LogIndex(index))
        was_open = log.commit_index >= self._opening_index
        log.commit_to(LogIndex(index))
        self.has_work = True
        if not was_open:
            for context, asker in self._reads.take_early():
                self.read_index(context, asker)
        membership = state.membership
        if is_joint(membership.current) and membership.current_index <= index:
            self._append_configuration(leave_joint(membership.current))

    def _match_of(self, voter: NodeId) -> LogIndex:
        state = self._state
        return state.log.stable_index if voter == state.node else self._progress[voter].match_index

    def _forget_uncommitted(self, before: LogIndex, after: LogIndex) -> None:
        size = self._state.log.data_bytes(LogIndex(max(before + 1, self._opening_index)), after)
        self.uncommitted_bytes -= size
        assert self.uncommitted_bytes >= 0

    def is_dismissed(self) -> bool:
        """True once the configuration that leaves this member out is committed (Raft thesis §4.2.2)."""
        membership = self._state.membership
        return membership.current_index <= self._state.log.commit_index and not is_voter(
            membership.current, self._state.node
        )

    # -- time

    def tick(self, beats: int) -> bool:
        """False if the leader has lost its quorum and must step down. So many lengths of a tick are over: followers
        wait no longer for a leader that had much to do."""
        self._ticks += 1
        self._handover.tick(self._ticks)
        if self._news_waits:
            self._news_waits = False
            self._news_due = self.has_work = True
        if not self._heartbeats.tick(beats, self._progress, self._ticks):
            return True
        if not quorum_value(self._state.configuration, self._is_active):
            return False
        self._heartbeats.send_round(self._progress)
        for peer, progress in self._progress.items():
            self._snapshots.send_again(peer, progress, self._ticks)
        return True

    def _is_active(self, voter: NodeId) -> int:
        return int(voter == self._state.node or self._progress[voter].is_active(self._ticks))

    # -- reads

    def read_index(self, context: int, asker: NodeId) -> None:
        reads, heartbeats = self._reads, self._heartbeats
        if reads.is_full():
            return
        if self._state.log.commit_index < self._opening_index:
            reads.ask_early(context, asker)
        elif heartbeats.quorum_round(self._progress) > heartbeats.round:
            reads.answer(context, asker, self._state.log.commit_index)
        else:
            reads.wait_for_round(heartbeats.round + 1, context, asker)
            self.has_work = True

    # -- handing over

    def transfer(self, target: NodeId) -> None:
        if target != self._state.node:
            self._handover.begin(target, self._ticks)
            self.has_work = True
            self._handover.go_on(self._progress)

    @property
    def is_handing_over(self) -> bool:
        return self._handover.is_under_way

    def hand_over(self) -> None:
        """This member is about to stop leading."""
        self._handover.step_aside(self._progress, self._ticks)

    def is_dispensable(self, *, is_long: bool) -> bool:
        """See `Handover`."""
        return self._handover.is_dispensable(self._progress, self._ticks, is_long=is_long)

    # -- connections

    def peer_disconnected(self, peer: NodeId) -> None:
        progress = self._progress.get(peer)
        if progress is not None:
            progress.connected()
            progress.probe_sent = True
            progress.heard_tick = self._ticks - self._state.config.election_ticks

    def append_dropped(self, peer: NodeId) -> None:
        progress = self._progress.get(peer)
        if progress is not None:
            progress.dropped()

    def peer_connected(self, peer: NodeId) -> None:
        progress = self._progress.get(peer)
        if progress is not None:
            progress.connected()
            self.has_work = True

    def status(self) -> dict[NodeId, ReplicaStatus]:
        first = self._state.log.memory_first
        return {peer: progress.status(self._ticks, first) for peer, progress in self._progress.items()}
