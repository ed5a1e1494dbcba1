"""Long lists are put in order in short steps."""

from __future__ import annotations

import random

import pytest
import trio

from cluster.node.admin.gently import gently_sorted


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("values", [0, 1, 3, 50_000])
@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 12_345])
async def test_the_order_is_that_of_sorted_equal_ones_included(count: int, values: int, reverse: bool) -> None:
    seed = count * 7 + values
    rng = random.Random(seed)
    items = [(rng.randint(0, values), number) for number in range(count)]
    wanted = sorted(items, key=lambda item: item[0], reverse=reverse)
    assert await gently_sorted(items, lambda item: item[0], reverse=reverse) == wanted, f"seed {seed}"


async def test_others_have_their_turn_while_many_are_sorted() -> None:
    turns = 0
    async with trio.open_nursery() as nursery:

        async def other() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        nursery.start_soon(other)
        await gently_sorted(range(20_000), lambda number: -number)
        nursery.cancel_scope.cancel()
    assert turns >= 10
