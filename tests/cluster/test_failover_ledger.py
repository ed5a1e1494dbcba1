"""The judge of the chaos campaigns is judged: each broken promise is seen, and what a fault excuses is not."""

from __future__ import annotations

import pytest

from chaos.ledger import CONFIRMED, REFUSED, Delivery, Fault, Ledger, Publishing, Receiving, Verdict

STRUCK, ALIVE = 0, 1
"""Nodes. Consumer 0 is on the one, consumer 1 on the other."""


def history(published: int = 1) -> Ledger:
    """One publishing on ALIVE whose messages are all confirmed, and a consumer on each node."""
    ledger = Ledger()
    ledger.publishings.append(Publishing(ALIVE, "q"))
    ledger.receivings += [Receiving(STRUCK), Receiving(ALIVE)]
    for number in range(published):
        assert ledger.publishings[0].publish() == number
        ledger.publishings[0].answers[number] = CONFIRMED
    return ledger


def delivered(at: float, receiving: int, *, redelivered: bool = False, returned: bool = False) -> Delivery:
    return Delivery(at, receiving, redelivered, returned)


def fault(began: float, ended: float, kind: str = "kill") -> Fault:
    return Fault(0, kind, (STRUCK,), ("q",), began, ended)


def judge(ledger: Ledger) -> Verdict:
    return ledger.judge(left=0)


def test_everything_confirmed_and_delivered_once_is_well() -> None:
    ledger = history(3)
    for number in range(3):
        ledger.deliver(0, number, delivered(1.0 + number, ALIVE))
    verdict = judge(ledger)
    assert verdict.broken == ()
    assert (verdict.published, verdict.confirmed, verdict.delivered, verdict.redelivered) == (3, 3, 3, 0)


def test_what_was_confirmed_and_never_came_is_lost() -> None:
    assert judge(history()).broken == ("lost",)


def test_what_was_refused_or_never_answered_may_stay_away() -> None:
    ledger = history()
    ledger.publishings[0].answers[0] = REFUSED
    ledger.publishings[0].publish()
    assert judge(ledger).broken == ()


def test_what_was_given_back_has_to_come_again() -> None:
    ledger = history()
    ledger.deliver(0, 0, delivered(1.0, ALIVE, returned=True))
    assert judge(ledger).broken == ("lost",)
    ledger.deliver(0, 0, delivered(1.1, ALIVE, redelivered=True))
    assert judge(ledger).broken == ()


def test_a_repetition_without_a_reason_is_seen_on_living_nodes() -> None:
    ledger = history()
    ledger.faults.append(fault(5.0, 6.0))
    ledger.deliver(0, 0, delivered(5.1, ALIVE))
    ledger.deliver(0, 0, delivered(5.5, ALIVE, redelivered=True))
    assert judge(ledger).broken == ("twice_to_living",)


def test_a_repetition_of_what_a_struck_node_held_is_excused() -> None:
    ledger = history()
    ledger.faults.append(fault(5.0, 6.0))
    ledger.deliver(0, 0, delivered(4.9, STRUCK))
    ledger.deliver(0, 0, delivered(5.5, ALIVE, redelivered=True))
    assert judge(ledger).broken == ()


def test_a_repetition_of_what_was_settled_long_before_the_fault_is_not_excused() -> None:
    ledger = history()
    ledger.faults.append(fault(9.0, 10.0))
    ledger.deliver(0, 0, delivered(1.0, STRUCK))
    ledger.deliver(0, 0, delivered(9.5, ALIVE, redelivered=True))
    assert judge(ledger).broken == ("twice_to_living",)


def test_what_a_frozen_node_hands_out_after_its_sleep_is_excused() -> None:
    ledger = history()
    ledger.faults.append(fault(5.0, 12.0, "stop"))
    ledger.deliver(0, 0, delivered(10.1, ALIVE, redelivered=True))
    ledger.deliver(0, 0, delivered(11.5, STRUCK))
    assert judge(ledger).broken == ()


def test_a_repetition_has_to_say_so() -> None:
    ledger = history()
    ledger.faults.append(fault(5.0, 6.0))
    ledger.deliver(0, 0, delivered(4.9, STRUCK))
    ledger.deliver(0, 0, delivered(5.5, ALIVE))
    assert judge(ledger).broken == ("unflagged",)


def test_what_nobody_published_is_a_phantom() -> None:
    ledger = history(0)
    ledger.deliver(0, 0, delivered(1.0, ALIVE))
    ledger.deliver(7, 0, delivered(1.0, ALIVE))
    assert judge(ledger).phantom == 2


@pytest.mark.parametrize(("second_is_repeated", "disordered"), [(False, 1), (True, 0)])
def test_first_deliveries_to_a_consumer_ascend(second_is_repeated: bool, disordered: int) -> None:
    ledger = history(2)
    ledger.deliver(0, 1, delivered(1.0, ALIVE))
    ledger.deliver(0, 0, delivered(1.1, ALIVE, redelivered=second_is_repeated))
    assert judge(ledger).disordered == disordered


def test_a_connection_to_a_living_node_must_not_break() -> None:
    ledger = history(0)
    ledger.faults.append(fault(5.0, 6.0))
    ledger.receivings[STRUCK].ended_at = 5.1
    assert judge(ledger).dropped == 0
    ledger.receivings[ALIVE].ended_at = 5.1
    assert judge(ledger).dropped == 1


def test_a_gap_belongs_to_the_fault_in_which_it_begins_and_any_other_is_a_calm_one() -> None:
    ledger = history(0)
    ledger.faults.append(fault(5.0, 6.0))
    ledger.publishings[0].answered_at.extend([1.0, 1.4, 4.9, 4.99, 5.25, 5.9, 6.1, 6.2])
    verdict = judge(ledger)
    assert [round(gap.seconds, 3) for gap in verdict.gaps] == [0.65]
    assert round(verdict.longest_calm_gap, 3) == 3.5


def test_publishers_on_the_struck_node_and_into_other_queues_say_nothing_about_the_gap() -> None:
    ledger = history(0)
    ledger.faults.append(fault(5.0, 6.0))
    ledger.publishings += [Publishing(STRUCK, "q"), Publishing(ALIVE, "other")]
    for publishing in ledger.publishings[1:]:
        publishing.answered_at.extend([4.9, 5.9])
    assert judge(ledger).worst_gap == 0.0
