"""A few members on a table: every message and every write stands still until the test moves it.

Law: no time, no chance. Messages wait in one queue in the order in which they left; a member's write waits
until `write` finishes it. What happens is told in `lines`, one line per event, in the words of the scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import methodcaller
from random import Random

from cluster.raft.group import Persist, RaftConfig, RaftGroup, ReadState, Role
from cluster.raft.membership import decode_configuration
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
    SnapshotChunkMessage,
    SnapshotChunkReply,
    VoteReply,
    VoteRequest,
)
from cluster.raft.storage import GroupWrite
from cluster.raft.types import Configuration, Entry, EntryKind, GroupId, HardState, LogIndex, NodeId, Term
from tests.raft.disk import Disk, members

GROUP = GroupId(0)


class Ensemble:
    """See the law of this file. Members are numbered from 1."""

    def __init__(
        self, voters: Sequence[int] = (1, 2, 3), *, others: Sequence[int] = (), config: RaftConfig | None = None
    ) -> None:
        self.config = config or RaftConfig()
        self.disks = {node: Disk(members(*voters)) for node in sorted({*voters, *others})}
        self.groups: dict[int, RaftGroup] = {}
        self.queue: list[Message] = []
        self.writes: dict[int, Persist] = {}
        self.applied: dict[int, list[Entry]] = {}
        self.read_states: dict[int, list[ReadState]] = {}
        self.cut: set[tuple[int, int]] = set()
        self.lines: list[str] = []
        for node in self.disks:
            self.start(node)

    # -- processes

    def start(self, node: int) -> RaftGroup:
        """Start, or after `crash` start again from what the disk has."""
        group = RaftGroup(
            node=NodeId(node), group=GROUP, storage=self.disks[node], config=self.config, random=Random(node)
        )
        self.groups[node] = group
        self.applied[node] = []
        self.read_states[node] = []
        self.collect()
        return group

    def crash(self, node: int) -> None:
        """The process is gone, and with it the write that was under way."""
        del self.groups[node]
        self.writes.pop(node, None)

    # -- moving things

    def do(self, node: int, what: Callable[[RaftGroup], object]) -> None:
        """Something happens to a member; its messages leave and its write begins."""
        what(self.groups[node])
        self.collect()

    def collect(self) -> None:
        for node, group in self.groups.items():
            while group.has_ready():
                ready = group.ready()
                if ready.role_change is not None:
                    change = ready.role_change
                    leader = f", leader {change.leader}" if change.leader else ""
                    self.lines.append(f"{node} is {change.role.value} in term {change.term}{leader}")
                if ready.restored is not None:
                    self.lines.append(f"{node} restores the snapshot up to {ready.restored.index}")
                if ready.committed:
                    self.applied[node] += ready.committed
                    self.lines.append(f"{node} applies {describe_entries(ready.committed)}")
                for state in ready.read_states:
                    self.read_states[node].append(state)
                    self.lines.append(f"{node} may read {state.context} at {state.index}")
                self._leave(ready.messages)
            if node not in self.writes:
                persist = group.take_persist()
                if persist is not None:
                    self.writes[node] = persist
                    self.lines.append(f"{node} begins to write {describe_write(persist)}")

    def _leave(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.queue.append(message)
            self.lines.append(describe(message))

    def write(self, node: int) -> Persist:
        """The write of `node` is durable."""
        persist = self.writes.pop(node)
        self.disks[node].apply(persist.write)
        self.lines.append(f"{node} has written")
        self.groups[node].persisted(persist)
        self._leave(persist.messages)
        self.collect()
        return persist

    def take(self, source: int | None = None, target: int | None = None, kind: type | None = None) -> list[Message]:
        """Take messages off the queue: those that match."""
        taken = [
            message
            for message in self.queue
            if source in (None, message.source)
            and target in (None, message.target)
            and (kind is None or isinstance(message, kind))
        ]
        self.queue = [message for message in self.queue if not any(message is other for other in taken)]
        return taken

    def deliver(self, source: int | None = None, target: int | None = None, kind: type | None = None) -> list[Message]:
        """Deliver what is in the queue now and matches; what comes of it stays in the queue."""
        messages = self.take(source, target, kind)
        for message in messages:
            self.hand(message)
        return messages

    def hand(self, message: Message) -> None:
        group = self.groups.get(message.target)
        if group is not None and (message.source, message.target) not in self.cut:
            group.step(message)
            self.collect()

    def settle(self, *, without_writes_of: Sequence[int] = ()) -> None:
        """Finish writes and deliver messages until nothing moves any more."""
        while True:
            ready_writes = [node for node in sorted(self.writes) if node not in without_writes_of]
            if ready_writes:
                self.write(ready_writes[0])
            elif self.queue:
                self.hand(self.queue.pop(0))
            else:
                return

    def tick(self, node: int, count: int = 1) -> None:
        for _ in range(count):
            self.do(node, RaftGroup.tick)

    def isolate(self, node: int) -> None:
        for other in self.disks:
            if other != node:
                self.cut |= {(node, other), (other, node)}

    def heal(self) -> None:
        self.cut.clear()

    def elect(self, node: int) -> RaftGroup:
        """Make `node` the leader, with an entry of its term committed everywhere it can be."""
        self.do(node, RaftGroup.campaign)
        self.settle()
        return self.groups[node]

    def propose(self, node: int, *data: str) -> None:
        for text in data:
            self.do(node, methodcaller("propose", text.encode()))

    def role(self, node: int) -> Role:
        return self.groups[node].role

    def logs(self) -> dict[int, str]:
        """Terms of every entry that a member has in its log."""
        return {
            node: " ".join(
                str(group._state.log.term(LogIndex(index)))
                for index in range(group.status().first_index, group.last_index + 1)
            )
            for node, group in self.groups.items()
        }


def fill(disk: Disk, terms: Sequence[int], *, term: int | None = None, vote: int = 0, commit_index: int = 0) -> None:
    """Put a log of such terms on a disk, as if its history had been that (Raft paper figure 7)."""
    entries = [
        Entry(Term(at), LogIndex(index), EntryKind.COMMAND, f"{index}/{at}".encode())
        for index, at in enumerate(terms, 1)
    ]
    hard_state = HardState(
        Term(term if term is not None else max(terms, default=0)), NodeId(vote), LogIndex(commit_index)
    )
    disk.apply(GroupWrite(GROUP, hard_state, entries=entries))


# -- words


def describe_entry(entry: Entry) -> str:
    if entry.kind is EntryKind.COMMAND:
        return f"{entry.index}/{entry.term}:{entry.data.decode()}"
    if entry.kind is EntryKind.CONFIG:
        return f"{entry.index}/{entry.term}:{describe_configuration(decode_configuration(entry.data))}"
    return f"{entry.index}/{entry.term}:noop"


def describe_entries(entries: Sequence[Entry]) -> str:
    return "[" + " ".join(describe_entry(entry) for entry in entries) + "]"


def describe_configuration(configuration: Configuration) -> str:
    text = "voters=" + ",".join(map(str, configuration.voters))
    for name, half in (
        ("outgoing", configuration.outgoing_voters),
        ("learners", configuration.learners),
        ("next_learners", configuration.next_learners),
    ):
        if half:
            text += f";{name}=" + ",".join(map(str, half))
    return text


def describe_write(persist: Persist) -> str:
    write = persist.write
    parts: list[str] = []
    if write.hard_state is not None:
        state = write.hard_state
        parts.append(f"term={state.term} vote={state.vote} commit={state.commit_index}")
    if write.install is not None:
        parts.append(f"install={write.install.index}/{write.install.term}")
    if write.stage_meta is not None:
        parts.append(f"stage of {write.stage_meta.index}/{write.stage_meta.term}")
    if write.truncate_from is not None:
        parts.append(f"truncate from {write.truncate_from}")
    if write.entries:
        parts.append(describe_entries(write.entries))
    if write.snapshot is not None:
        parts.append(f"snapshot={write.snapshot[0].index}/{write.snapshot[0].term}")
    if persist.messages:
        parts.append(f"and then {len(persist.messages)} to send")
    return ", ".join(parts)


def describe(message: Message) -> str:
    head = f"{message.source}>{message.target} {type(message).__name__} term={message.term}"
    match message:
        case PreVoteRequest() | VoteRequest():
            transfer = " transfer" if isinstance(message, VoteRequest) and message.transfer else ""
            return f"{head} last={message.last_index}/{message.last_term}{transfer}"
        case PreVoteReply() | VoteReply():
            return f"{head} {'granted' if message.granted else 'refused'}"
        case Append():
            text = f"{head} prev={message.prev_index}/{message.prev_term} commit={message.commit_index}"
            return f"{text} {describe_entries(message.entries)}"
        case AppendReply():
            if message.rejected:
                return f"{head} refused={message.index} hint={message.hint_index}/{message.hint_term}"
            return f"{head} match={message.index}"
        case Heartbeat():
            return f"{head} commit={message.commit_index} round={message.round}"
        case HeartbeatReply():
            return f"{head} round={message.round} last={message.last_index}"
        case SnapshotChunkMessage():
            is_last = " last" if message.next_cursor is None else ""
            return f"{head} snapshot={message.meta.index}/{message.meta.term} at={message.cursor!r}{is_last}"
        case SnapshotChunkReply():
            return f"{head} snapshot={message.index} " + (
                "installed" if message.cursor is None else f"next={message.cursor!r}"
            )
        case ReadIndexRequest():
            return f"{head} context={message.context}"
        case ReadIndexReply():
            return f"{head} context={message.context} index={message.index}"
        case _:
            return head
