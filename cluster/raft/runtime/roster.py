"""The roster: which groups take part on this node, and which were stopped by damage in their storage.

Law: a group is a member or stopped, never both. StorageCorrupt stops the group it was met in and no other: a
stopped group neither votes nor leads, and its handler was told that it follows nobody. As soon as nothing of it is
under way to the disk it comes back as a member under repair, with its term and its vote and nothing else. A group
whose term and vote cannot be read never comes back under this node's id: that ends the node.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import ParamSpec, TypeVar

from cluster.raft.group import RaftGroup
from cluster.raft.ready import NotLeader, Ready, Role
from cluster.raft.runtime.interface import GroupHandler, GroupReport, RuntimeConfig, StorageListener
from cluster.raft.runtime.mailbox import Outbox
from cluster.raft.runtime.member import Member
from cluster.raft.storage import EMPTY_SNAPSHOT, Health, InitialState, Storage, StorageCorrupt
from cluster.raft.types import NOBODY, GroupId, NodeId

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Roster:
    """`members` may change under any call that can stop a group: iterate over a copy."""

    __slots__ = (
        "_config",
        "_faults",
        "_handlers",
        "_listener",
        "_node",
        "_outbox",
        "_random",
        "_storage",
        "members",
        "stopped",
    )

    def __init__(
        self,
        node: NodeId,
        storage: Storage,
        config: RuntimeConfig,
        random: Random,
        outbox: Outbox,
        listener: StorageListener | None,
    ) -> None:
        self._node = node
        self._storage = storage
        self._config = config
        self._random = random
        self._outbox = outbox
        self._listener = listener
        self.members: dict[GroupId, Member] = {}
        self.stopped: dict[GroupId, str] = {}
        """Why, by group."""
        self._handlers: dict[GroupId, GroupHandler] = {}
        self._faults: dict[GroupId, str] = {}
        """What brought groups under repair, as far as this life of the node knows."""

    def add(self, group: GroupId, handler: GroupHandler) -> None:
        """A member from what the storage has of the group; stopped at once if that is damaged.

        One that was given up and has forgotten what it acknowledged comes back as one whose log was lost: who missed
        that it had gone counts on it still, and it must elect nobody who lacks what it had.
        """
        assert group not in self.members
        self.stopped.pop(group, None)
        self._handlers[group] = handler
        self._begin(group)

    def _begin(self, group: GroupId) -> None:
        try:
            has_forgotten = _has_forgotten(self._storage.group(group).initial_state())
            self._admit(group, is_damaged=has_forgotten)
            if has_forgotten:
                self._faults[group] = "it had been given up"
        except StorageCorrupt as error:
            self.stopped[group] = str(error)

    def _admit(self, group: GroupId, *, is_damaged: bool) -> None:
        storage = self._storage.group(group)
        raft = RaftGroup(
            node=self._node,
            group=group,
            storage=storage,
            config=self._config.raft_of.get(group, self._config.raft),
            random=self._random,
            is_damaged=is_damaged,
        )
        self.members[group] = Member(raft, self._handlers[group], storage)

    def restart(self, group: GroupId) -> None:
        """A member that does not lead goes on with what the storage has of it, in the term that it was in: the votes
        that it asked for in that were for what it had in memory, and are on their way."""
        member = self.members.pop(group)
        member.handler.role_changed(Role.FOLLOWER, member.raft.term, NOBODY)
        member.handler.restore(EMPTY_SNAPSHOT, b"")
        self._begin(group)
        if group in self.members:
            self.members[group].raft.pass_over(member.raft.term)
        self.start(group)

    def repair(self, group: GroupId) -> None:
        """Let a stopped group come back with nothing. Raises StorageCorrupt if its term and vote cannot be read."""
        self._admit(group, is_damaged=True)
        fault = self._faults[group] = self.stopped.pop(group)
        self._handlers[group].restore(EMPTY_SNAPSHOT, b"")
        self._tell(group, fault)

    def repaired(self, group: GroupId) -> None:
        """What was lost of it has come from the others, and is durable."""
        self._tell(group, "")

    def _tell(self, group: GroupId, fault: str) -> None:
        if self._listener is not None:
            self._listener.group_damaged(group, fault)

    def remove(self, group: GroupId) -> None:
        self.members.pop(group, None)
        self.stopped.pop(group, None)
        self._handlers.pop(group, None)

    def start(self, group: GroupId) -> None:
        """Restore the handler of a member."""
        if group in self.members:
            self.guard(group, self.members[group].start)

    def guard(self, group: GroupId, act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """Let a member act; None if that met damage and stopped it."""
        try:
            return act(*args, **kwargs)
        except StorageCorrupt as error:
            self.stop(group, error)
            return None

    def stop(self, group: GroupId, error: StorageCorrupt) -> None:
        """Damage was met. A group that is stopped already stays so."""
        member = self.members.pop(group, None)
        if member is None:
            return
        self.stopped[group] = str(error)
        try:
            member.raft.step_down()
            ready = member.raft.ready()
        except StorageCorrupt:
            ready = Ready([], [], [], None, None)
        self._outbox.put(ready.messages)
        member.handler.role_changed(Role.FOLLOWER, member.raft.term, NOBODY)

    def member(self, group: GroupId) -> Member:
        """Raises NotLeader for a group that does not take part."""
        if group not in self.members:
            raise NotLeader(NOBODY)
        return self.members[group]

    def report(self, group: GroupId) -> GroupReport:
        """Raises KeyError for a group that is neither member nor stopped."""
        if group in self.stopped:
            return GroupReport(group, self.stopped[group], None)
        status = self.members[group].status()
        if not status.is_repairing:
            return GroupReport(group, "", status)
        return GroupReport(group, "", status, self._faults.get(group, "its log was damaged"))


def _has_forgotten(stored: InitialState) -> bool:
    """Has it a term, and nothing that it may have acknowledged in it?"""
    is_empty = not stored.last_index and not stored.snapshot.configuration.voters
    return bool(is_empty and stored.hard_state.term) and stored.health is Health.SOUND
