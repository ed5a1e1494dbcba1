"""What clients of a node have under way is bounded, for each of them and for all of them together."""

from __future__ import annotations

from cluster.node.amqp.publish import Budget, Pool


def test_a_connection_over_its_own_bound_is_not_read_until_it_is_below() -> None:
    budget = Budget(100, Pool())
    budget.taken(101)
    assert budget.exhausted
    budget.returned(1)
    assert not budget.exhausted


def test_where_all_have_too_much_only_who_has_nothing_under_way_is_read() -> None:
    pool = Pool(100)
    one, two = Budget(1000, pool), Budget(1000, pool)
    one.taken(60)
    assert not one.exhausted
    two.taken(60)
    assert one.exhausted
    assert two.exhausted
    assert not Budget(1000, pool).exhausted
    one.returned(60)
    assert not one.exhausted
    assert not two.exhausted


def test_what_a_connection_that_is_over_has_under_way_keeps_nobody_waiting() -> None:
    pool = Pool(100)
    one, two = Budget(1000, pool), Budget(1000, pool)
    one.taken(200)
    two.taken(10)
    one.close()
    assert not two.exhausted
    one.returned(200)
    two.taken(91)
    assert two.exhausted, "what comes back late does not count twice"
