"""What a store knows of a group between two writes, and how a write moves it.

Law: `after` is the only place that says which `GroupWrite` is allowed. It runs before anything is written, in
every store alike; a write that breaks the protocol is a bug of ours, raises AssertionError and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster.raft.storage import EMPTY_SNAPSHOT, Compacted, GroupWrite, Health, InitialState, Unavailable
from cluster.raft.types import NOBODY, GroupId, HardState, LogIndex, SnapshotMeta, Term
from cluster.store.chunk import Received, accept

NEW_HARD_STATE = HardState(Term(0), NOBODY, LogIndex(0))


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group as of the last durable write. A group nobody wrote to is `GroupState()`."""

    hard_state: HardState = NEW_HARD_STATE
    snapshot: SnapshotMeta = EMPTY_SNAPSHOT
    last_index: LogIndex = EMPTY_SNAPSHOT.index
    received: Received | None = None
    health: Health = Health.SOUND

    @property
    def first_index(self) -> LogIndex:
        """The log starts right after the snapshot."""
        return LogIndex(self.snapshot.index + 1)

    def initial_state(self) -> InitialState:
        """The part of it that consensus starts from."""
        return InitialState(self.hard_state, self.snapshot, self.first_index, self.last_index, self.health)


def after(group: GroupId, state: GroupState, write: GroupWrite) -> GroupState:
    """The state once `write` is durable. Raises AssertionError if the protocol does not allow it."""
    assert write.group == group
    if write.forget:
        state = GroupState(replace(state.hard_state, commit_index=LogIndex(0)))
    hard_state = state.hard_state
    if write.hard_state is not None:
        assert write.hard_state.term >= hard_state.term, f"group {group}: the term went back"
        hard_state = write.hard_state
    if write.health is not None:
        state = _become(group, state, write.health)
    if state.health is Health.DAMAGED:
        of_contents = write.stage or write.install or write.entries or write.snapshot or write.delete_entries
        assert not of_contents, f"group {group}: damaged contents are written to"
    snapshot, last_index = state.snapshot, state.last_index
    received, _ = accept(state.received, write.stage_meta, write.stage)
    if write.install is not None:
        assert received is not None, f"group {group}: nothing is staged to install"
        assert received.meta == write.install, f"group {group}: another snapshot is staged than installed"
        assert received.next_cursor is None, f"group {group}: the staged snapshot is not complete"
        assert write.install.index >= snapshot.index, f"group {group}: an older snapshot is installed"
        snapshot, last_index, received = write.install, write.install.index, None
    if write.truncate_from is not None:
        assert write.truncate_from > snapshot.index, f"group {group}: truncation reaches the snapshot"
        last_index = LogIndex(min(last_index, write.truncate_from - 1))
    for entry in write.entries:
        assert entry.index == last_index + 1, f"group {group}: entry {entry.index} leaves a gap"
        last_index = entry.index
    if write.snapshot is not None:
        meta = write.snapshot[0]
        assert meta.index >= snapshot.index, f"group {group}: an older snapshot is written"
        assert meta.index <= last_index or last_index == snapshot.index, (
            f"group {group}: the snapshot covers entries that are not there"
        )
        snapshot, last_index = meta, LogIndex(max(last_index, meta.index))
    for index in write.delete_entries:
        assert index <= snapshot.index, f"group {group}: entry {index} is still in the log"
    for entry in write.replace_entries:
        assert entry.index <= snapshot.index, f"group {group}: entry {entry.index} is still in the log"
    return GroupState(hard_state, snapshot, last_index, received, state.health)


def _become(group: GroupId, state: GroupState, health: Health) -> GroupState:
    match health:
        case Health.DAMAGED:
            pass
        case Health.REBUILDING:
            assert state.health is Health.DAMAGED, f"group {group}: sound contents are thrown away"
        case Health.SOUND:
            assert state.health is Health.REBUILDING, f"group {group}: damaged contents are taken for sound"
            return replace(state, health=health)
    return GroupState(state.hard_state, health=health)


def check_in_log(group: GroupId, index: int, *, first_index: int, last_index: int) -> None:
    """Raises Compacted or Unavailable unless `index` is in the log."""
    if index < first_index:
        raise Compacted(f"group {group}: entry {index} is compacted, the log starts at {first_index}")
    if index > last_index:
        raise Unavailable(f"group {group}: entry {index} is not there, the log ends at {last_index}")
