"""Interval sets and maps against plain sets and dicts. Hypothesis prints how to repeat a failure."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.broker.shard.intervals import IntervalMap, IntervalSet
from tests.broker.shard.naive import flat

RANGES = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda r: (r[0], r[0] + r[1]))
SET_OPS = st.lists(st.tuples(st.sampled_from(["add", "add", "remove", "take", "drop"]), RANGES), max_size=40)
OWNERS = ("ada", "bob", "cyd")


def check_set(real: IntervalSet, naive: set[int]) -> None:
    intervals = list(real)
    assert flat(intervals) == sorted(naive)
    assert real.count == len(naive)
    assert bool(real) == bool(naive)
    assert all(first < end for first, end in intervals)
    assert all(intervals[i][1] < intervals[i + 1][0] for i in range(len(intervals) - 1)), "neighbours do not touch"
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
        intervals = list(real)
        assert [(n, who) for a, b, who in intervals for n in range(a, b)] == sorted(naive.items())
        assert all(a < b for a, b, _ in intervals)
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
