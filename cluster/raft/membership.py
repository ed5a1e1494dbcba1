"""Who belongs to a group: the encoding of a configuration, its changes, and majorities of it.

Law: a configuration is in force from the moment it stands in the log, committed or not (Raft thesis §4.1),
and no longer when its entry is truncated. Two different voter sets follow each other only through a joint
configuration, in which every decision needs a majority of both (Raft thesis §4.3).
"""

from __future__ import annotations

from collections.abc import Callable

import msgpack

from cluster.raft.types import Configuration, LogIndex, NodeId

_VERSION = 1


def encode_configuration(configuration: Configuration) -> bytes:
    """Data of a CONFIG entry."""
    packed: bytes = msgpack.packb(
        [
            _VERSION,
            configuration.voters,
            configuration.outgoing_voters,
            configuration.learners,
            configuration.next_learners,
        ]
    )
    return packed


def decode_configuration(data: bytes) -> Configuration:
    """Inverse of `encode_configuration`. Raises ValueError."""
    try:
        version, *halves = msgpack.unpackb(data)
        if version != _VERSION or len(halves) != 4:
            raise ValueError(f"configuration entry of version {version}")
        return Configuration(*(tuple(NodeId(int(member)) for member in half) for half in halves))
    except (TypeError, msgpack.UnpackException) as error:
        raise ValueError("a configuration entry cannot be read") from error


def is_joint(configuration: Configuration) -> bool:
    return bool(configuration.outgoing_voters)


def is_voter(configuration: Configuration, node: NodeId) -> bool:
    return node in configuration.voters or node in configuration.outgoing_voters


def all_voters(configuration: Configuration) -> tuple[NodeId, ...]:
    """Voters of both halves, ascending."""
    if not configuration.outgoing_voters:
        return configuration.voters
    return tuple(sorted({*configuration.voters, *configuration.outgoing_voters}))


def all_members(configuration: Configuration) -> tuple[NodeId, ...]:
    """Voters and learners, ascending: everyone who receives the log."""
    return tuple(sorted({*configuration.voters, *configuration.outgoing_voters, *configuration.learners}))


def enter_change(current: Configuration, target: Configuration) -> Configuration:
    """What a leader appends to get from `current` (not joint) to `target`'s voters and learners.

    Joint if the voters differ. Raises ValueError for a target that no group can have.
    """
    voters, learners = tuple(sorted(target.voters)), tuple(sorted(target.learners))
    if not voters:
        raise ValueError("a configuration needs a voter")
    if len({*voters, *learners}) != len(voters) + len(learners) or min(voters + learners) < 1:
        raise ValueError("a configuration names every member once, by an id from 1")
    if target.outgoing_voters or target.next_learners:
        raise ValueError("a joint configuration cannot be asked for")
    if voters == current.voters:
        return Configuration(voters, (), learners)
    demoted = tuple(member for member in learners if member in current.voters)
    joining = tuple(member for member in learners if member not in current.voters)
    return Configuration(voters, current.voters, joining, demoted)


def leave_joint(joint: Configuration) -> Configuration:
    """What follows a committed joint configuration."""
    return Configuration(joint.voters, (), tuple(sorted({*joint.learners, *joint.next_learners})))


def quorum_value(configuration: Configuration, value_of: Callable[[NodeId], int]) -> int:
    """The largest value that a quorum has reached: a majority of each half; 0 without voters."""
    reached = _majority_value(configuration.voters, value_of)
    if configuration.outgoing_voters:
        reached = min(reached, _majority_value(configuration.outgoing_voters, value_of))
    return reached


def _majority_value(voters: tuple[NodeId, ...], value_of: Callable[[NodeId], int]) -> int:
    if not voters:
        return 0
    values = sorted(map(value_of, voters))
    return values[(len(values) - 1) // 2]


class Ballot:
    """Votes of one election, each voter's first answer counted once."""

    __slots__ = ("_configuration", "_votes")

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._votes: dict[NodeId, bool] = {}

    def record(self, voter: NodeId, granted: bool) -> None:
        self._votes.setdefault(voter, granted)

    def won(self) -> bool:
        return quorum_value(self._configuration, lambda voter: int(self._votes.get(voter, False))) == 1

    def lost(self) -> bool:
        """True when the missing answers cannot win it any more."""
        return quorum_value(self._configuration, lambda voter: int(self._votes.get(voter, True))) == 0

    def is_disputed(self) -> bool:
        """Has somebody answered with a no?"""
        return not all(self._votes.values())


class MembershipHistory:
    """The configurations of a log: the snapshot's, then one per CONFIG entry, the last one in force."""

    __slots__ = ("_entries", "current", "current_index")

    def __init__(self, index: LogIndex, configuration: Configuration) -> None:
        self._entries: list[tuple[LogIndex, Configuration]] = [(index, configuration)]
        self.current = configuration
        self.current_index = index

    def append(self, index: LogIndex, configuration: Configuration) -> None:
        assert index > self.current_index
        self._entries.append((index, configuration))
        self.current, self.current_index = configuration, index

    def truncate_from(self, index: LogIndex) -> bool:
        """Forget configurations at or above `index`; True if another one is in force now."""
        before = self.current_index
        while self._entries[-1][0] >= index and len(self._entries) > 1:
            self._entries.pop()
        self.current_index, self.current = self._entries[-1]
        return self.current_index != before

    def at(self, index: LogIndex) -> Configuration:
        """The configuration that a snapshot ending at `index` carries."""
        for position, configuration in reversed(self._entries):
            if position <= index:
                return configuration
        raise AssertionError(f"no configuration is known at index {index}")

    def is_needed(self, node: NodeId, commit_index: LogIndex) -> bool:
        """True if `node` votes in a configuration that may still decide something.

        A member that an uncommitted configuration leaves out must go on starting elections: it may be the
        only one that can win by the configuration before (Raft thesis §4.2.2).
        """
        for index, configuration in reversed(self._entries):
            if is_voter(configuration, node):
                return True
            if index <= commit_index:
                break
        return False

    def compacted(self, index: LogIndex) -> None:
        """Forget what only a snapshot before `index` could need."""
        while len(self._entries) > 1 and self._entries[1][0] <= index:
            del self._entries[0]
