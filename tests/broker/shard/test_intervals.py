"""Interval sets and maps against plain sets and dicts. Hypothesis prints how to repeat a failure."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.broker.shard import intervals
from cluster.broker.shard.intervals import IntervalMap, IntervalSet
from tests.broker.shard.naive import flat

RANGES = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda r: (r[0], r[0] + r[1]))
SET_OPS = st.lists(st.tuples(st.sampled_from(["add", "add", "remove", "take", "drop"]), RANGES), max_size=40)
OWNERS = ("ada", "bob", "cyd")


def check_set(real: IntervalSet, naive: set[int]) -> None:
    parts = list(real)
    assert flat(parts) == sorted(naive)
    assert real.count == len(naive)
    assert bool(real) == bool(naive)
    assert all(first < end for first, end in parts)
    assert all(parts[i][1] < parts[i + 1][0] for i in range(len(parts) - 1)), "neighbours do not touch"
    assert [n for n in range(-1, 60) if n in real] == sorted(naive)


@settings(max_examples=300)
@given(SET_OPS)
def test_an_interval_set_is_a_set(operations: list[tuple[str, tuple[int, int]]]) -> None:
    real, naive = IntervalSet(), set[int]()
    for operation, (first, end) in operations:
        numbers = set(range(first, end))
        if operation == "add":
            assert flat(real.add(first, end)) == sorted(numbers - naive)
            naive |= numbers
        elif operation == "remove":
            assert flat(real.remove(first, end)) == sorted(numbers & naive)
            naive -= numbers
        elif operation == "take":
            count, below = end - first, first + 10
            expected = [n for n in sorted(naive) if n < below][:count]
            assert flat(real.take(count, below)) == expected
            naive -= set(expected)
        else:
            real.drop_below(first)
            naive = {n for n in naive if n >= first}
        check_set(real, naive)


def test_a_cleared_interval_set_is_empty() -> None:
    real = IntervalSet()
    real.add(1, 5)
    real.clear()
    check_set(real, set())


@settings(max_examples=300)
@given(st.lists(st.tuples(st.booleans(), RANGES, st.sampled_from(OWNERS)), max_size=40))
def test_an_interval_map_is_a_dict(operations: list[tuple[bool, tuple[int, int], str]]) -> None:
    real: IntervalMap[str] = IntervalMap()
    naive: dict[int, str] = {}
    for put, (first, end), owner in operations:
        numbers = range(first, end)
        if put and first < end and not any(n in naive for n in numbers):
            real.put(first, end, owner)
            naive.update(dict.fromkeys(numbers, owner))
        else:
            cut = [(n, who) for a, b, who in real.cut(first, end) for n in range(a, b)]
            assert cut == [(n, naive[n]) for n in numbers if n in naive]
            for n in numbers:
                naive.pop(n, None)
        parts = list(real)
        assert [(n, who) for a, b, who in parts for n in range(a, b)] == sorted(naive.items())
        assert all(a < b for a, b, _ in parts)
        assert real.count == len(naive)
        for who in OWNERS:
            assert flat(real.of(who)) == sorted(n for n, o in naive.items() if o == who)
        if first < end:
            assert real.covers(first, end) == all(n in naive for n in numbers)


def test_cutting_nothing_out_of_an_interval_map_gives_nothing() -> None:
    real: IntervalMap[str] = IntervalMap()
    real.put(5, 9, "ada")
    assert real.cut(5, 5) == []
    assert list(real) == [(5, 9, "ada")]


NUMBERS = st.sets(st.integers(0, 150), max_size=100)


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    """Each number by itself where they lie close: more than are dealt with one by one."""
    return [(n, n + 1) for n in sorted(numbers)]


@pytest.fixture(scope="module")
def a_few() -> Iterator[None]:
    """Are dealt with one by one; more at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_FEW", 5)
        yield


@pytest.mark.usefixtures("a_few")
@settings(max_examples=300)
@given(st.lists(RANGES, max_size=20), st.lists(RANGES.filter(lambda r: r[0] < r[1]), max_size=3), NUMBERS)
def test_many_intervals_are_removed_at_once_as_one_by_one(
    inside: list[tuple[int, int]], wide: list[tuple[int, int]], numbers: set[int]
) -> None:
    covered = {n for first, end in wide for n in range(first, end)}
    parts = sorted([*IntervalSet(wide), *ranges_of(numbers - covered)])
    real, other = IntervalSet(inside), IntervalSet(inside)
    one_by_one = [part for first, end in parts for part in other.remove(first, end)]
    assert real.remove_all(parts) == one_by_one
    check_set(real, set(flat(list(other))))


@pytest.mark.usefixtures("a_few")
@settings(max_examples=300)
@given(NUMBERS, NUMBERS, st.lists(st.sampled_from(OWNERS), min_size=151, max_size=151))
def test_many_intervals_are_cut_and_put_at_once_as_one_by_one(
    inside: set[int], parts: set[int], owners: list[str]
) -> None:
    real: IntervalMap[str] = IntervalMap()
    real.put_all([(first, end, owners[first]) for first, end in ranges_of(inside)])
    cut = real.cut_all(ranges_of(parts))
    assert [(n, who) for a, b, who in cut for n in range(a, b)] == [(n, owners[n]) for n in sorted(inside & parts)]
    assert [(n, who) for a, b, who in real for n in range(a, b)] == [(n, owners[n]) for n in sorted(inside - parts)]
    assert real.count == len(inside - parts)
    real.put_all([(first, end, owners[first]) for first, end in ranges_of(parts)])
    assert [(n, who) for a, b, who in real for n in range(a, b)] == [(n, owners[n]) for n in sorted(inside | parts)]


def test_neighbours_of_one_owner_become_one_interval() -> None:
    """A million messages that come again one by one, to who had them, are not a million intervals."""
    real: IntervalMap[str] = IntervalMap()
    real.put(0, 100, OWNERS[0])
    for n in range(1, 100, 2):
        real.cut(n, n + 1)
    for n in range(1, 100, 2):
        real.put(n, n + 1, OWNERS[0])
    assert list(real) == [(0, 100, OWNERS[0])]
