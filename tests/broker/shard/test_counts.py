"""How often messages came back, against a plain dictionary."""

from itertools import pairwise
from random import Random

import pytest

from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.counts import Counts


@pytest.mark.parametrize("seed", range(30))
def test_counts_are_what_a_dictionary_says(seed: int) -> None:
    random = Random(seed)
    counts, plain = Counts(), dict[int, int]()
    for _ in range(300):
        first = random.randrange(60)
        end = first + random.choice([0, 1, 1, 2, 5, 30])
        if random.random() < 0.6:
            counts.add(first, end)
            plain.update({seq: plain.get(seq, 0) + 1 for seq in range(first, end)})
        else:
            counts.remove(first, end)
            plain = {seq: count for seq, count in plain.items() if not first <= seq < end}
        assert counts == plain, f"seed {seed}"
        assert (len(counts), bool(counts)) == (len(plain), bool(plain))
        assert list(counts) == sorted(plain)
        runs = counts.runs(0, 100)
        assert [c for a, b, c in runs for _ in range(a, b)] == [plain.get(seq, 0) for seq in range(100)]
        assert [seq for a, b in counts.above(2) for seq in range(a, b)] == [s for s in sorted(plain) if plain[s] > 2]
        for one, other in pairwise(runs):
            assert one[1] == other[0]
            assert one[2] != other[2], "neighbours of one count are one run"


@pytest.mark.parametrize("piece", [1, 3, 4, 1000])
def test_pairs_come_in_pieces_and_make_the_same_counts(piece: int) -> None:
    counts = Counts()
    for first, end in [(0, 4), (2, 9), (20, 21), (22, 23), (23, 40)]:
        counts.add(first, end)
    pieces = [unpack_column("Q", data) for data in counts.pairs(piece)]
    assert all(len(pairs) <= 2 * piece for pairs in pieces)
    pairs = [n for part in pieces for n in part]
    assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == counts
    assert Counts.of_pairs(pairs) == counts


def test_a_copy_does_not_change_with_it() -> None:
    counts = Counts()
    counts.add(3, 9)
    copy = counts.copy()
    counts.add(5, 6)
    counts.remove(3, 4)
    assert copy == dict.fromkeys(range(3, 9), 1)
    counts.clear()
    assert (len(counts), dict(counts)) == (0, {})


def test_pairs_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="counts do not ascend"):
        Counts.of_pairs([3, 1, 2, 1])
    with pytest.raises(ValueError, match="counts do not ascend"):
        Counts.of_pairs([3, 0])


def test_a_million_that_came_back_at_once_are_one_run() -> None:
    counts = Counts()
    counts.add(0, 1_000_000)
    counts.add(0, 1_000_000)
    assert counts.runs(0, 1_000_000) == [(0, 1_000_000, 2)]
