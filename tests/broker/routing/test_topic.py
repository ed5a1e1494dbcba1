"""Topic matching against the plain definition, and trie upkeep."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.broker.routing.topic import TopicMatcher, split_words

WORDS = st.sampled_from(["a", "b", "", "stock", "*", "#"])
PATTERNS = st.lists(WORDS, max_size=6).map(".".join)
KEYS = st.lists(st.sampled_from(["a", "b", "", "stock", "*", "#"]), max_size=7).map(".".join)


def no_headers():
    return {}


def matches(pattern: list[str], key: list[str]) -> bool:
    """The definition, word by word."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return matches(pattern[1:], key) or (bool(key) and matches(pattern, key[1:]))
    if not key:
        return False
    return pattern[0] in ("*", key[0]) and matches(pattern[1:], key[1:])


def route(matcher, key):
    found = list(matcher.match(key, no_headers))
    assert len(found) == len(set(found)), "each destination once"
    return sorted(found)


@settings(max_examples=400)
@given(st.lists(st.tuples(PATTERNS, st.integers(1, 5), st.booleans()), max_size=12), st.lists(KEYS, max_size=6))
def test_the_trie_finds_what_the_definition_says_through_adds_and_removes(steps, keys):
    matcher = TopicMatcher()
    held = []
    for pattern, queue, remove in steps:
        if remove and held:
            gone = held.pop(queue % len(held))
            matcher.remove(gone[1], gone[0], {})
        else:
            held.append((pattern, queue))
            matcher.add(queue, pattern, {})
    for key in keys:
        wanted = {queue for pattern, queue in held if matches(split_words(pattern), split_words(key))}
        assert route(matcher, key) == sorted(wanted)
    for pattern, queue in held:
        matcher.remove(queue, pattern, {})
    assert matcher._root.is_over


@pytest.mark.parametrize(
    ("pattern", "key", "found"),
    [
        ("", "", True),
        ("#", "", True),
        ("*", "", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("a.*", "a", False),
        ("a.*", "a.", True),
        ("#.b", "b", True),
        ("#.b", "a.a.b", True),
        ("*.stock.#", "eu.stock", True),
        ("*.stock.#", "eu.stock.nyse.ibm", True),
        ("a.#.b.#.c", "a.b.c", True),
        ("a.#.b.#.c", "a.x.b.y.z.c", True),
        ("a.#.b.#.c", "a.c.b", False),
    ],
)
def test_star_is_one_word_and_hash_is_any_number(pattern, key, found):
    matcher = TopicMatcher()
    matcher.add(1, pattern, {})
    assert route(matcher, key) == ([1] if found else [])


def test_a_walk_over_many_hashes_stays_short():
    matcher = TopicMatcher()
    pattern = ".".join(["#", "a"] * 30)
    matcher.add(1, pattern, {})
    assert route(matcher, ".".join(["a"] * 120)) == [1]
    assert route(matcher, ".".join(["a"] * 120 + ["b"])) == []


def test_a_queue_bound_twice_stays_until_both_bindings_are_gone():
    matcher = TopicMatcher()
    matcher.add(1, "a.*", {})
    matcher.add(1, "a.*", {"other": 1})
    matcher.remove(1, "a.*", {})
    assert route(matcher, "a.b") == [1]
    matcher.remove(1, "a.*", {"other": 1})
    assert route(matcher, "a.b") == []
