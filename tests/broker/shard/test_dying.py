"""Messages that die leave their queue once, whatever breaks meanwhile; see dying.py."""

import pytest

from tests.broker.shard.dying import MODULE, run
from tests.broker.shard.seeds import run_each

SEEDS_A_CHUNK = 20


@pytest.mark.parametrize("chunk", range(5))
def test_a_message_is_in_its_queue_or_with_the_dead_letters_and_never_in_both(chunk: int) -> None:
    run_each(run, 300_000 + chunk * SEEDS_A_CHUNK, SEEDS_A_CHUNK, MODULE)
