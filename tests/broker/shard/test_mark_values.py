"""Marks of a queue's messages, against a plain dictionary, and what a frozen copy of them keeps."""

from random import Random

import pytest

from cluster.broker.shard.mark_values import MarkValues


@pytest.mark.parametrize("seed", range(20))
def test_values_are_what_a_dictionary_says_and_a_frozen_copy_stays(seed: int) -> None:
    random = Random(seed)
    values, plain = MarkValues(), dict[int, int]()
    frozen: list[tuple[list[dict[int, int]], dict[int, int]]] = []
    for step in range(200):
        seq = random.randrange(40_000)
        if random.random() < 0.7:
            values.put(seq, step)
            plain[seq] = step
        else:
            end = seq + random.choice([1, 100, 4096, 20_000])
            values.remove(seq, end)
            plain = {n: value for n, value in plain.items() if not seq <= n < end}
        if random.random() < 0.05:
            frozen.append((values.frozen(), dict(plain)))
        assert values == plain, f"seed {seed}"
        assert len(values) == len(plain)
        assert values.value(seq) == plain.get(seq)
        end = seq + random.choice([1, 100, 20_000])
        assert values.within(seq, end) == sorted(n for n in plain if seq <= n < end)
    for chunks, then in frozen:
        flat = [(seq, chunk[seq]) for chunk in chunks for seq in sorted(chunk)]
        assert flat == sorted(then.items()), f"seed {seed}"


def test_values_come_back_from_pairs() -> None:
    assert MarkValues.of_pairs([3, 7, 9000, 1]) == {3: 7, 9000: 1}
    assert MarkValues.of_pairs([]).value(0) is None
