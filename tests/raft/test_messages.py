"""Messages on the wire: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import os
import random

import msgpack
import pytest

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
from cluster.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    GroupId,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)
from cluster.raft.wire import from_wire, to_wire

HEAD = (GroupId(7), NodeId(1), NodeId(2), Term(9))
INDEX = LogIndex(1 << 40)
ENTRIES = [
    Entry(Term(8), LogIndex(INDEX + 1), EntryKind.COMMAND, bytes(range(256))),
    Entry(Term(9), LogIndex(INDEX + 2), EntryKind.NOOP, b""),
    Entry(Term(9), LogIndex(INDEX + 3), EntryKind.CONFIG, b"c"),
]
META = SnapshotMeta(INDEX, Term(3), Configuration((NodeId(1), NodeId(2)), (NodeId(3),), (NodeId(4),), (NodeId(3),)))

MESSAGES: list[Message] = [
    PreVoteRequest(*HEAD, INDEX, Term(8)),
    PreVoteReply(*HEAD, True),
    VoteRequest(*HEAD, INDEX, Term(8), True),
    VoteReply(*HEAD, False),
    Append(*HEAD, INDEX, Term(8), LogIndex(5), ENTRIES),
    Append(*HEAD, INDEX, Term(8), LogIndex(5), []),
    AppendReply(*HEAD, INDEX, True, LogIndex(4), Term(2)),
    Heartbeat(*HEAD, INDEX, 17),
    HeartbeatReply(*HEAD, 17, INDEX),
    SnapshotChunkMessage(*HEAD, META, b"cursor", b"data", b"next"),
    SnapshotChunkMessage(*HEAD, META, b"", b"data", None),
    SnapshotChunkReply(*HEAD, INDEX, b"next"),
    SnapshotChunkReply(*HEAD, INDEX, None),
    TimeoutNow(*HEAD),
    ReadIndexRequest(*HEAD, 99),
    ReadIndexReply(*HEAD, 99, INDEX),
    RepairRequest(*HEAD, 1 << 61),
    RepairReply(*HEAD, 1 << 61, INDEX, META.configuration),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert from_wire(msgpack.unpackb(msgpack.packb(to_wire(message)))) == message


def test_entry_data_is_the_same_object_on_the_wire_list() -> None:
    wire = to_wire(MESSAGES[4])
    assert any(field is ENTRIES[0].data for field in wire)
    received = from_wire(wire)
    assert isinstance(received, Append)
    assert received.entries[0].data is ENTRIES[0].data


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        ([], "a raft message is a list of at least five fields"),
        ("text", "a raft message is a list of at least five fields"),
        ([99, 0, 1, 2, 3], "unknown raft message kind 99"),
        ([11, 0, -1, 2, 3], "a raft message has -1 where a number must be"),
        ([11, 0, True, 2, 3], "a raft message has True where a number must be"),
        ([11, 0, 1, 2, 3, 4], "a raft message has 1 fields where 0 must be"),
        ([3, 0, 1, 2, 3, "x", 4], "a raft message has 'x' where int must be"),
        ([6, 0, 1, 2, 3, 1], "a raft message has 1 where bool must be"),
        ([1, 0, 1, 2, 3, 4, 5, 6, 7, 1], "an append's entries are triples of term, kind and data"),
        ([1, 0, 1, 2, 3, 4, 5, 6, 7, 1, "x"], "an append's entries are triples of term, kind and data"),
        ([1, 0, 1, 2, 3, 4, 5, 6, 7, 9, b"x"], "unknown entry kind 9"),
        ([9, 0, 1, 2, 3], "a raft message has 0 fields where 5 must be"),
        ([10, 0, 1, 2, 3, 4, "x"], "a raft message has a cursor that is no bytes"),
    ],
)
def test_anything_else_is_a_value_error(wire: list[object], text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        from_wire(wire)
    assert str(refusal.value) == text


def test_no_garbage_raises_anything_but_value_error() -> None:
    seed = int(os.environ.get("RAFT_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"repeat with RAFT_SEED={seed}")
    source = random.Random(seed)
    atoms: list[object] = [0, 1, -1, 1 << 70, True, None, b"", b"x", "s", 1.5, [], [1], [[1], [], [], []], {}]
    for _ in range(5000):
        wire = to_wire(source.choice(MESSAGES))
        for _ in range(source.randint(1, 3)):
            position = source.randrange(len(wire) + 1)
            match source.randrange(3):
                case 0:
                    wire[position : position + 1] = [source.choice(atoms)]
                case 1:
                    wire.insert(position, source.choice(atoms))
                case _:
                    del wire[position : position + 1]
        try:
            from_wire(wire)
        except ValueError:
            continue
