"""Rates of counters, from the questions that were asked."""

from __future__ import annotations

from cluster.node.admin import rates as rates_module
from cluster.node.admin.rates import SPAN_SECONDS, STALE_SECONDS, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rate(rates: Rates, value: int, thing: str = "q") -> float:
    document = rates.counted(thing, {"publish": value})
    assert document["publish"] == value
    return float(document["publish_details"]["rate"])


def test_the_first_answer_knows_no_rate() -> None:
    assert rate(Rates(Clock()), 70) == 0.0


def test_a_rate_is_the_growth_between_two_questions_a_second() -> None:
    clock = Clock()
    rates = Rates(clock)
    rate(rates, 100)
    clock.now += 10
    assert rate(rates, 150) == 5.0


def test_questions_in_quick_succession_do_not_shorten_what_a_rate_is_taken_over() -> None:
    clock = Clock()
    rates = Rates(clock)
    rate(rates, 0)
    clock.now += SPAN_SECONDS
    assert rate(rates, 100) == 20.0
    clock.now += 0.01
    assert rate(rates, 100) == round(100 / (SPAN_SECONDS + 0.01), 3)


def test_a_rate_falls_to_nothing_once_nothing_comes_any_more() -> None:
    clock = Clock()
    rates = Rates(clock)
    rate(rates, 0)
    for value in (50, 50, 50):
        clock.now += SPAN_SECONDS
        last = rate(rates, value)
    assert last == 0.0


def test_a_counter_that_began_anew_has_no_rate_rather_than_one_below_zero() -> None:
    clock = Clock()
    rates = Rates(clock)
    rate(rates, 1000)
    clock.now += 10
    assert rate(rates, 3) == 0.0
    clock.now += 10
    assert rate(rates, 23) == 2.0


def test_what_was_asked_long_ago_is_not_taken_for_a_rate_of_now() -> None:
    clock = Clock()
    rates = Rates(clock)
    rate(rates, 0)
    clock.now += STALE_SECONDS + 1
    assert rate(rates, 10_000) == 0.0


def test_how_much_lies_in_a_queue_may_shrink_and_its_rate_says_so() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.detailed("q", {"messages": 100})
    clock.now += 10
    assert rates.detailed("q", {"messages": 50})["messages_details"] == {"rate": -5.0}


def test_samples_are_kept_of_the_things_that_were_asked_about_last() -> None:
    clock = Clock()
    rates = Rates(clock)
    for number in range(rates_module.THINGS_MAX + 10):
        rate(rates, 0, f"q{number}")
    assert len(rates) == rates_module.THINGS_MAX
    clock.now += 10
    assert rate(rates, 100, "q11") == 10.0
    assert rate(rates, 100, "q0") == 0.0
