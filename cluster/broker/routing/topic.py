"""Topic exchanges: a trie of pattern words, walked with every place a key can have reached at once.

Law: words are what stands between dots; the empty key has none (as in RabbitMQ), so only `#` matches it. `*` is
exactly one word, `#` any number. A node is in the trie only while a binding ends at it or below it. The walk
holds each node at most once for each word, so its cost is bounded by nodes times words, whatever the patterns.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from cluster.broker.routing.bucket import added, members, removed
from cluster.broker.routing.headers import Arguments, HeadersLoader

D = TypeVar("D", bound=Hashable)


def split_words(key: str) -> list[str]:
    """The words of a routing key or a pattern."""
    return key.split(".") if key else []


class _Node(Generic[D]):
    """What is bound at one pattern prefix. `loops` is true where the last word of the prefix is `#`."""

    __slots__ = ("bound", "children", "loops")

    def __init__(self, *, loops: bool) -> None:
        self.bound: D | dict[D, int] | None = None
        self.children: dict[str, _Node[D]] | None = None
        self.loops = loops


class TopicMatcher(Generic[D]):
    """pattern -> destinations (AMQP 0-9-1 §3.1.3.3)."""

    __slots__ = ("_root",)

    reads_headers = False

    def __init__(self) -> None:
        self._root: _Node[D] = _Node(loops=False)

    def add(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        node = self._root
        for word in split_words(routing_key):
            if node.children is None:
                node.children = {}
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = _Node(loops=word == "#")
            node = child
        node.bound = added(node.bound, destination)

    def remove(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        path: list[tuple[_Node[D], str]] = []
        node = self._root
        for word in split_words(routing_key):
            assert node.children is not None, "a binding that was never made cannot be removed"
            path.append((node, word))
            node = node.children[word]
        assert node.bound is not None, "a binding that was never made cannot be removed"
        node.bound = removed(node.bound, destination)
        for parent, word in reversed(path):
            if node.bound is not None or node.children is not None:
                return
            assert parent.children is not None
            del parent.children[word]
            if not parent.children:
                parent.children = None
            node = parent

    def match(self, routing_key: str, _headers: HeadersLoader) -> Iterable[D]:
        """Destinations in no promised order, each once."""
        reached: dict[_Node[D], None] = {}
        _reach(self._root, reached)
        for word in split_words(routing_key):
            previous, reached = reached, {}
            for node in previous:
                if node.loops:
                    _reach(node, reached)
                children = node.children
                if children is None:
                    continue
                child = children.get(word)
                if child is not None and not child.loops and word != "*":
                    _reach(child, reached)
                child = children.get("*")
                if child is not None:
                    _reach(child, reached)
            if not reached:
                return ()
        if len(reached) == 1:
            return members(next(iter(reached)).bound)
        found: dict[D, None] = {}
        for node in reached:
            for destination in members(node.bound):
                found[destination] = None
        return found


def _reach(node: _Node[D], reached: dict[_Node[D], None]) -> None:
    """Put `node` among the places reached, and what follows it by taking `#` for no word at all."""
    while node not in reached:
        reached[node] = None
        if node.children is None:
            return
        following = node.children.get("#")
        if following is None:
            return
        node = following
