"""The wire form of Raft's messages: lists of numbers and bytes, as msgpack takes them.

Law: a message is one flat list; entries travel as triples of term, kind and data, because their indexes follow from
`prev_index`. What comes from a peer is checked field by field: nothing but what `to_wire` makes becomes a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, assert_never

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
from cluster.raft.types import Configuration, Entry, EntryKind, GroupId, LogIndex, NodeId, SnapshotMeta, Term

_KINDS = tuple(EntryKind)


def to_wire(message: Message) -> list[Any]:
    """`[kind, group, source, target, term, ...]`, the fields in the order of the class; no data is copied."""
    head = [0, message.group, message.source, message.target, message.term]
    tail: list[Any]
    match message:
        case Append():
            kind, tail = 1, [message.prev_index, message.prev_term, message.commit_index]
            for entry in message.entries:
                tail += (entry.term, int(entry.kind), entry.data)
        case AppendReply():
            kind, tail = 2, [message.index, message.rejected, message.hint_index, message.hint_term]
        case Heartbeat():
            kind, tail = 3, [message.commit_index, message.round]
        case HeartbeatReply():
            kind, tail = 4, [message.round, message.last_index]
        case PreVoteRequest():
            kind, tail = 5, [message.last_index, message.last_term]
        case PreVoteReply():
            kind, tail = 6, [message.granted]
        case VoteRequest():
            kind, tail = 7, [message.last_index, message.last_term, message.transfer]
        case VoteReply():
            kind, tail = 8, [message.granted]
        case SnapshotChunkMessage():
            meta = message.meta
            members = _members(meta.configuration)
            kind = 9
            tail = [meta.index, meta.term, members, message.cursor, message.data, message.next_cursor]
        case SnapshotChunkReply():
            kind, tail = 10, [message.index, message.cursor]
        case TimeoutNow():
            kind, tail = 11, []
        case ReadIndexRequest():
            kind, tail = 12, [message.context]
        case ReadIndexReply():
            kind, tail = 13, [message.context, message.index]
        case RepairRequest():
            kind, tail = 14, [message.nonce]
        case RepairReply():
            kind, tail = 15, [message.nonce, message.last_index, _members(message.configuration)]
        case _:
            assert_never(message)
    head[0] = kind
    return head + tail


def _members(configuration: Configuration) -> list[list[int]]:
    return [
        list(configuration.voters),
        list(configuration.outgoing_voters),
        list(configuration.learners),
        list(configuration.next_learners),
    ]


def _configuration(members: Any) -> Configuration:
    """Inverse of `_members`. Raises ValueError."""
    _expect(members, list, list, list, list)
    for half in members:
        _numbers(half)
    return Configuration(*(tuple(half) for half in members))


def from_wire(wire: list[Any]) -> Message:
    """The message that `to_wire` gave. Raises ValueError for anything else."""
    if not isinstance(wire, list) or len(wire) < 5:
        raise ValueError("a raft message is a list of at least five fields")
    kind, group, source, target, term = wire[:5]
    _numbers(wire[:5])
    decode = _DECODERS.get(kind)
    if decode is None:
        raise ValueError(f"unknown raft message kind {kind}")
    return decode((GroupId(group), NodeId(source), NodeId(target), Term(term)), wire[5:])


_Head: TypeAlias = tuple[GroupId, NodeId, NodeId, Term]


def _numbers(fields: list[Any]) -> None:
    for field in fields:
        if type(field) is not int or field < 0:
            raise ValueError(f"a raft message has {field!r:.40} where a number must be")


def _expect(tail: list[Any], *types: type[object]) -> None:
    if len(tail) != len(types):
        raise ValueError(f"a raft message has {len(tail)} fields where {len(types)} must be")
    for field, wanted in zip(tail, types, strict=True):
        if type(field) is not wanted or (type(field) is int and field < 0):
            raise ValueError(f"a raft message has {field!r:.40} where {wanted.__name__} must be")


def _append(head: _Head, tail: list[Any]) -> Append:
    if len(tail) < 3 or len(tail) % 3:
        raise ValueError("an append's entries are triples of term, kind and data")
    _numbers(tail[:3])
    index = tail[0]
    entries: list[Entry] = []
    for position in range(3, len(tail), 3):
        term, kind, data = tail[position : position + 3]
        index += 1
        if type(term) is not int or type(data) is not bytes or type(kind) is not int:
            raise ValueError("an append's entries are triples of term, kind and data")
        if not 0 <= kind < len(_KINDS):
            raise ValueError(f"unknown entry kind {kind}")
        entries.append(Entry(Term(term), LogIndex(index), _KINDS[kind], data))
    return Append(*head, LogIndex(tail[0]), Term(tail[1]), LogIndex(tail[2]), entries)


def _append_reply(head: _Head, tail: list[Any]) -> AppendReply:
    _expect(tail, int, bool, int, int)
    return AppendReply(*head, *tail)


def _heartbeat(head: _Head, tail: list[Any]) -> Heartbeat:
    _expect(tail, int, int)
    return Heartbeat(*head, *tail)


def _heartbeat_reply(head: _Head, tail: list[Any]) -> HeartbeatReply:
    _expect(tail, int, int)
    return HeartbeatReply(*head, *tail)


def _pre_vote_request(head: _Head, tail: list[Any]) -> PreVoteRequest:
    _expect(tail, int, int)
    return PreVoteRequest(*head, *tail)


def _pre_vote_reply(head: _Head, tail: list[Any]) -> PreVoteReply:
    _expect(tail, bool)
    return PreVoteReply(*head, *tail)


def _vote_request(head: _Head, tail: list[Any]) -> VoteRequest:
    _expect(tail, int, int, bool)
    return VoteRequest(*head, *tail)


def _vote_reply(head: _Head, tail: list[Any]) -> VoteReply:
    _expect(tail, bool)
    return VoteReply(*head, *tail)


def _snapshot_chunk(head: _Head, tail: list[Any]) -> SnapshotChunkMessage:
    _expect(tail[:-1], int, int, list, bytes, bytes)
    _cursor(tail[-1])
    index, term, members, cursor, data, next_cursor = tail
    meta = SnapshotMeta(LogIndex(index), Term(term), _configuration(members))
    return SnapshotChunkMessage(*head, meta, cursor, data, next_cursor)


def _snapshot_chunk_reply(head: _Head, tail: list[Any]) -> SnapshotChunkReply:
    _expect(tail[:-1], int)
    _cursor(tail[-1])
    return SnapshotChunkReply(*head, *tail)


def _cursor(field: object) -> None:
    if field is not None and type(field) is not bytes:
        raise ValueError("a raft message has a cursor that is no bytes")


def _timeout_now(head: _Head, tail: list[Any]) -> TimeoutNow:
    _expect(tail)
    return TimeoutNow(*head)


def _read_index_request(head: _Head, tail: list[Any]) -> ReadIndexRequest:
    _expect(tail, int)
    return ReadIndexRequest(*head, *tail)


def _read_index_reply(head: _Head, tail: list[Any]) -> ReadIndexReply:
    _expect(tail, int, int)
    return ReadIndexReply(*head, *tail)


def _repair_request(head: _Head, tail: list[Any]) -> RepairRequest:
    _expect(tail, int)
    return RepairRequest(*head, *tail)


def _repair_reply(head: _Head, tail: list[Any]) -> RepairReply:
    _expect(tail, int, int, list)
    nonce, last_index, members = tail
    return RepairReply(*head, nonce, LogIndex(last_index), _configuration(members))


_DECODERS: dict[int, Callable[[_Head, list[Any]], Message]] = {
    1: _append,
    2: _append_reply,
    3: _heartbeat,
    4: _heartbeat_reply,
    5: _pre_vote_request,
    6: _pre_vote_reply,
    7: _vote_request,
    8: _vote_reply,
    9: _snapshot_chunk,
    10: _snapshot_chunk_reply,
    11: _timeout_now,
    12: _read_index_request,
    13: _read_index_reply,
    14: _repair_request,
    15: _repair_reply,
}
