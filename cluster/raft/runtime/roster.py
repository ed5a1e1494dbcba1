"""The roster: which groups take part on this node, and which were stopped by damage in their storage.

Law: a group is a member or stopped, never both. StorageCorrupt stops the group it was met in and no other: a
stopped group neither votes nor leads, and its handler was told that it follows nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import ParamSpec, TypeVar

from cluster.raft.group import RaftGroup
from cluster.raft.ready import NotLeader, Ready, Role
from cluster.raft.runtime.interface import GroupHandler, GroupReport, RuntimeConfig
from cluster.raft.runtime.mailbox import Outbox
from cluster.raft.runtime.member import Member
from cluster.raft.storage import Storage, StorageCorrupt
from cluster.raft.types import NOBODY, GroupId, NodeId

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Roster:
    """`members` may change under any call that can stop a group: iterate over a copy."""

    __slots__ = ("_config", "_node", "_outbox", "_random", "_storage", "members", "stopped")

    def __init__(self, node: NodeId, storage: Storage, config: RuntimeConfig, random: Random, outbox: Outbox) -> None:
        self._node = node
        self._storage = storage
        self._config = config
        self._random = random
        self._outbox = outbox
        self.members: dict[GroupId, Member] = {}
        self.stopped: dict[GroupId, str] = {}
        """Why, by group."""

    def add(self, group: GroupId, handler: GroupHandler) -> None:
        """A member from what the storage has of the group; stopped at once if that is damaged."""
        assert group not in self.members
        self.stopped.pop(group, None)
        storage = self._storage.group(group)
        config = self._config.raft_of.get(group, self._config.raft)
        try:
            raft = RaftGroup(node=self._node, group=group, storage=storage, config=config, random=self._random)
        except StorageCorrupt as error:
            self.stopped[group] = str(error)
        else:
            self.members[group] = Member(raft, handler, storage)

    def remove(self, group: GroupId) -> None:
        self.members.pop(group, None)
        self.stopped.pop(group, None)

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
        return GroupReport(group, "", self.members[group].status())
