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

    __slots__ = ("any_number", "any_word", "bound", "loops", "words")

    def __init__(self, *, loops: bool) -> None:
        self.bound: D | dict[D, int] | None = None
        self.words: dict[str, _Node[D]] | None = None
        """Children by a plain word; None rather than empty."""
        self.any_word: _Node[D] | None = None
        """The child for `*`."""
        self.any_number: _Node[D] | None = None
        """The child for `#`."""
        self.loops = loops

    def child(self, word: str) -> _Node[D] | None:
        if word == "*":
            return self.any_word
        if word == "#":
            return self.any_number
        return None if self.words is None else self.words.get(word)

    def add_child(self, word: str) -> _Node[D]:
        made: _Node[D] = _Node(loops=word == "#")
        if word == "*":
            self.any_word = made
        elif word == "#":
            self.any_number = made
        else:
            if self.words is None:
                self.words = {}
            self.words[word] = made
        return made

    def remove_child(self, word: str) -> None:
        if word == "*":
            self.any_word = None
        elif word == "#":
            self.any_number = None
        else:
            assert self.words is not None
            del self.words[word]
            if not self.words:
                self.words = None

    @property
    def is_over(self) -> bool:
        """Nothing ends here or below."""
        return self.bound is None and self.words is None and self.any_word is None and self.any_number is None


class TopicMatcher(Generic[D]):
    """pattern -> destinations (AMQP 0-9-1 §3.1.3.3)."""

    __slots__ = ("_root",)

    reads_headers = False

    def __init__(self) -> None:
        self._root: _Node[D] = _Node(loops=False)

    def add(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        node = self._root
        for word in split_words(routing_key):
            node = node.child(word) or node.add_child(word)
        node.bound = added(node.bound, destination)

    def remove(self, destination: D, routing_key: str, _arguments: Arguments) -> None:
        path: list[tuple[_Node[D], str]] = []
        node = self._root
        for word in split_words(routing_key):
            child = node.child(word)
            assert child is not None, "a binding that was never made cannot be removed"
            path.append((node, word))
            node = child
        assert node.bound is not None, "a binding that was never made cannot be removed"
        node.bound = removed(node.bound, destination)
        for parent, word in reversed(path):
            if not node.is_over:
                return
            parent.remove_child(word)
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
                words = node.words
                if words is not None and (child := words.get(word)) is not None:
                    reached[child] = None
                    if child.any_number is not None:
                        _reach(child.any_number, reached)
                if (child := node.any_word) is not None:
                    reached[child] = None
                    if child.any_number is not None:
                        _reach(child.any_number, reached)
            if not reached:
                return ()
        if len(reached) == 1:
            return members(next(iter(reached)).bound)
        found: dict[D, None] = {}
        for node in reached:
            if node.bound is not None:
                for destination in members(node.bound):
                    found[destination] = None
        return found


def _reach(start: _Node[D], reached: dict[_Node[D], None]) -> None:
    """Put a node among the places reached, and what follows it by taking `#` for no word at all."""
    node: _Node[D] | None = start
    while node is not None and node not in reached:
        reached[node] = None
        node = node.any_number
