"""What clients of a node have under way is bounded, for each of them and for all of them together."""

from __future__ import annotations

from cluster.node.amqp.budget import Budget, Pool


class Client:
    """A connection, in as far as it has a budget."""

    def __init__(self, pool: Pool, size_max: int = 1000) -> None:
        self.is_publishing = False
        self.told = 0
        self.budget = Budget(size_max, pool, self, self._tell)

    def _tell(self) -> None:
        self.told += 1


def test_a_connection_over_its_own_bound_is_not_read_until_it_is_below() -> None:
    budget = Client(Pool(), 100).budget
    budget.taken(101)
    assert budget.exhausted
    budget.returned(1)
    assert not budget.exhausted


def test_where_all_have_too_much_only_who_has_nothing_under_way_is_read() -> None:
    pool = Pool(100)
    one, two = Client(pool).budget, Client(pool).budget
    one.taken(60)
    assert not one.exhausted
    two.taken(60)
    assert one.exhausted
    assert two.exhausted
    assert not Client(pool).budget.exhausted
    one.returned(60)
    assert not one.exhausted
    assert not two.exhausted


def test_who_is_in_the_middle_of_a_message_then_waits_until_there_is_room() -> None:
    pool = Pool(100)
    busy, half_way, gone = Client(pool), Client(pool), Client(pool)
    busy.budget.taken(101)
    half_way.is_publishing = gone.is_publishing = True
    for client in (half_way, half_way, gone):
        assert client.budget.exhausted
    gone.budget.close()
    busy.budget.taken(1)
    busy.budget.returned(1)
    assert half_way.told == 0, "there is no room yet"
    busy.budget.returned(1)
    assert (half_way.told, gone.told) == (1, 0)
    assert not half_way.budget.exhausted
    busy.budget.taken(50)
    busy.budget.returned(50)
    assert half_way.told == 1, "it has not asked again"


def test_the_end_of_a_connection_makes_room_for_others() -> None:
    pool = Pool(100)
    busy, half_way = Client(pool), Client(pool)
    busy.budget.taken(101)
    half_way.is_publishing = True
    assert half_way.budget.exhausted
    busy.budget.close()
    assert half_way.told == 1


def test_a_transaction_is_no_larger_than_what_may_be_under_way() -> None:
    assert Client(Pool(), 100).budget.largest == 100
    assert Client(Pool(50), 100).budget.largest == 50


def test_what_a_connection_that_is_over_has_under_way_keeps_nobody_waiting() -> None:
    pool = Pool(100)
    one, two = Client(pool).budget, Client(pool).budget
    one.taken(200)
    two.taken(10)
    one.close()
    assert not two.exhausted
    one.returned(200)
    two.taken(91)
    assert two.exhausted, "what comes back late does not count twice"
