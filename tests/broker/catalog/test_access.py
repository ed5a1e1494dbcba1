"""Regular expressions that operators write into permissions and policies."""

from __future__ import annotations

import time

import pytest

from cluster.broker.catalog.access import check_pattern, pattern_matches
from cluster.broker.errors import BrokerError


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        (r"^(?!amq\.).*", "orders", True),
        (r"^(?!amq\.).*", "amq.direct", False),
        ("", "anything", False),
        ("", "", True),
        ("mid", "in the middle", True),
        ("(", "(", False),
    ],
)
def test_a_pattern_is_searched_for_as_rabbitmq_does(pattern: str, name: str, found: bool) -> None:
    assert pattern_matches(pattern, name) is found


def test_a_broken_pattern_is_refused_by_name() -> None:
    with pytest.raises(BrokerError, match="invalid regular expression"):
        check_pattern("(")


def test_a_pattern_that_would_run_for_ever_matches_nothing_and_is_soon_given_up() -> None:
    endless = r"^(a|aa|aaa)+(b|c)*\1$"
    began = time.process_time()
    assert not any(pattern_matches(endless, "a" * 60 + "!" * n) for n in range(1, 200))
    assert time.process_time() - began < 5.0
