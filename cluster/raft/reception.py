"""What a member does with what its peers say.

Law: a message of an older term is answered at most, one of a later term ends this member's own; the rest goes to whom
it concerns: the follower, the election, the leadership, or the repair of a lost log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.raft.election import Election
from cluster.raft.follower import Follower
from cluster.raft.leadership import Leadership
from cluster.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadIndexReply,
    ReadIndexRequest,
    RepairReply,
    RepairRequest,
    SnapshotChunkMessage,
    SnapshotChunkReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from cluster.raft.ready import ReadState
from cluster.raft.repair import Repair
from cluster.raft.snapshot_receiver import SnapshotReceiver
from cluster.raft.state import GroupState
from cluster.raft.storage import Health
from cluster.raft.types import NOBODY, LogIndex, NodeId, Term


class Reception:
    """Of one member."""

    __slots__ = ("_election", "_follower", "_receiver", "_state")

    def __init__(self, state: GroupState, election: Election, receiver: SnapshotReceiver) -> None:
        self._state = state
        self._election = election
        self._follower = Follower(state, receiver)
        self._receiver = receiver

    @property
    def _leadership(self) -> Leadership | None:
        return self._election.leadership

    def step(self, message: Message) -> None:
        if message.term == self._state.term or self._admit(message):
            _HANDLERS[type(message)](self, message)

    def _admit(self, message: Message) -> bool:
        """Judge a message of another term; True if it is to be handled, in the term that then is."""
        state = self._state
        if message.term < state.term:
            if type(message) in _FROM_LEADER:
                # A leader of the past learns that it is one; without this, pre-votes could not depose it.
                self._follower.refuse(message.source, LogIndex(0), Term(0))
            return type(message) in (PreVoteRequest, VoteRequest)
        if type(message) is PreVoteRequest or (type(message) is PreVoteReply and message.granted):
            return True
        if type(message) is VoteRequest and self._election.is_ignored(message):
            return False
        self._election.follow(message.term, NOBODY)
        return True

    def _appended(self, message: Append) -> None:
        if self._election.hear_leader(message.source) and self._takes(message):
            self._follower.append(message)

    def _heartbeat(self, message: Heartbeat) -> None:
        if self._election.hear_leader(message.source):
            repair = self._state.repair
            if repair is not None and message.round:
                repair.heartbeat(message.term)
                self._ask_for_repair(repair, message.source)
            self._follower.heartbeat(message)

    def _chunk(self, message: SnapshotChunkMessage) -> None:
        if self._election.hear_leader(message.source) and self._takes(message):
            self._receiver.receive(message)

    def _takes(self, message: Append | SnapshotChunkMessage) -> bool:
        """Whether this member may take something in from its leader: under repair, only what it asked for."""
        repair = self._state.repair
        if repair is None or repair.takes(message.term):
            return True
        self._ask_for_repair(repair, message.source)
        return False

    def _ask_for_repair(self, repair: Repair, leader: NodeId) -> None:
        state = self._state
        if repair.take_question():
            state.reply(RepairRequest(state.group, state.node, leader, state.term, repair.nonce))

    def _repair_requested(self, message: RepairRequest) -> None:
        leadership = self._leadership
        if leadership is not None:
            leadership.repair_requested(message)

    def _repair_answered(self, message: RepairReply) -> None:
        state = self._state
        repair = state.repair
        if repair is None or message.nonce != repair.nonce or message.source != state.leader:
            return
        if repair.health is Health.DAMAGED:
            repair.health = Health.REBUILDING
            state.begin_again(message.configuration)
        repair.answered(message.term, message.last_index)

    def _append_replied(self, message: AppendReply) -> None:
        leadership = self._leadership
        if leadership is not None:
            leadership.append_replied(message)
            self._election.leave_if_dismissed()

    def _heartbeat_replied(self, message: HeartbeatReply) -> None:
        leadership = self._leadership
        if leadership is not None:
            leadership.heartbeat_replied(message)

    def _chunk_replied(self, message: SnapshotChunkReply) -> None:
        leadership = self._leadership
        if leadership is not None:
            leadership.chunk_replied(message)
            self._election.leave_if_dismissed()

    def _read_requested(self, message: ReadIndexRequest) -> None:
        leadership = self._leadership
        if leadership is not None:
            leadership.read_index(message.context, message.source)

    def _read_answered(self, message: ReadIndexReply) -> None:
        self._state.read_states.append(ReadState(message.context, message.index))


_FROM_LEADER = (Append, Heartbeat, SnapshotChunkMessage)

_HANDLERS: dict[type[Message], Callable[[Reception, Any], None]] = {
    Append: Reception._appended,
    AppendReply: Reception._append_replied,
    Heartbeat: Reception._heartbeat,
    HeartbeatReply: Reception._heartbeat_replied,
    PreVoteRequest: lambda reception, message: reception._election.pre_vote_requested(message),
    PreVoteReply: lambda reception, message: reception._election.pre_vote_answered(message),
    VoteRequest: lambda reception, message: reception._election.vote_requested(message),
    VoteReply: lambda reception, message: reception._election.vote_answered(message),
    TimeoutNow: lambda reception, message: reception._election.timeout_now(),
    SnapshotChunkMessage: Reception._chunk,
    SnapshotChunkReply: Reception._chunk_replied,
    ReadIndexRequest: Reception._read_requested,
    RepairRequest: Reception._repair_requested,
    RepairReply: Reception._repair_answered,
    ReadIndexReply: Reception._read_answered,
}
