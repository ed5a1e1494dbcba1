"""What consensus is told of its messages that a link had no room for."""

from __future__ import annotations

from typing import Any

from cluster.node.raft_mail import RaftMail
from cluster.raft.messages import Append
from cluster.raft.types import Entry, EntryKind, GroupId, LogIndex, NodeId, Term

ONE, TWO = NodeId(1), NodeId(2)


class FullLinks:
    """Nothing more goes in."""

    def send(self, *words: object, **options: object) -> bool:
        return False

    def is_full(self, peer: NodeId) -> bool:
        return True


class Runtime:
    def __init__(self) -> None:
        self.dropped: list[tuple[NodeId, list[GroupId]]] = []

    def appends_dropped(self, peer: NodeId, groups: list[GroupId]) -> None:
        self.dropped.append((peer, groups))


def append(group: int, *entries: Entry) -> Append:
    return Append(GroupId(group), ONE, TWO, Term(1), LogIndex(3), Term(1), LogIndex(3), list(entries))


def test_entries_that_found_no_room_are_sent_again_and_news_are_not() -> None:
    """Where news of a commit were not sent, the peer lacks no entry: whoever waited for it would wait for its disk."""
    links: Any = FullLinks()
    mail = RaftMail(links)
    runtime: Any = Runtime()
    mail.runtime = runtime
    mail.send(TWO, [append(5, Entry(Term(1), LogIndex(4), EntryKind.COMMAND, b"a")), append(6)])
    assert runtime.dropped == [(TWO, [GroupId(5)])]
