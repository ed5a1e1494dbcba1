"""The judge of a run is judged: the dead, transactions, and queues with a single active consumer."""

from __future__ import annotations

from chaos.history import How, Queue, Transaction
from tests.chaos.histories import BRIEF, QUEUE, STREAM, Story, mortal

SINGLE = Queue(t=0, name=QUEUE, single_active=True)


# ---- single active consumer


def test_two_consumers_of_a_queue_with_a_single_active_one_are_seen() -> None:
    story = Story(SINGLE)
    story.consumer("c")
    story.consumer("d", node=2)
    story.publish(1, 3)
    story.deliver("c", 1)
    story.settle("c", 1)
    story.deliver("d", 2)
    story.settle("d", 2)
    assert story.broken() == ("single active",)


def test_the_next_consumer_takes_over_when_the_active_one_has_gone() -> None:
    story = Story(SINGLE)
    story.consumer("c")
    story.consumer("d", node=2)
    story.publish(1, 3)
    story.deliver("c", 1)
    story.settle("c", 1)
    story.leave("c")
    story.deliver("d", 2)
    story.settle("d", 2)
    assert story.broken() == ()


# ---- transactions


def transaction(outcome: str, queues: tuple[str, ...]) -> Story:
    """Two messages into two queues, and what of it came out of which."""
    story = Story(Queue(t=0, name=QUEUE), Queue(t=0, name="other"), goes_to=(QUEUE, "other"))
    story.publish(1, 3, confirmed=False)
    story.tell(Transaction(t=0, s=STREAM, first=1, end=3, outcome=outcome))  # type: ignore[arg-type]
    for queue in queues:
        story.consumer(f"c-{queue}", queue=queue)
        for number in (1, 2):
            story.deliver(f"c-{queue}", number)
            story.settle(f"c-{queue}", number)
    return story


def test_a_transaction_that_is_in_one_of_its_queues_only_is_seen() -> None:
    assert "transactions" in transaction("committed", (QUEUE,)).broken()
    assert transaction("unknown", (QUEUE,)).broken() == ("transactions",)


def test_a_transaction_that_was_rolled_back_and_is_there_is_seen() -> None:
    assert transaction("rolled-back", (QUEUE, "other")).broken() == ("transactions",)


def test_a_transaction_without_an_answer_may_be_there_or_not() -> None:
    assert transaction("unknown", ()).broken() == ()
    assert transaction("unknown", (QUEUE, "other")).broken() == ()


# ---- dead letters


def test_a_message_that_died_and_is_among_the_dead_is_well() -> None:
    story = mortal()
    story.deliver("c")
    story.settle("c", how="reject")
    story.deliver("g", died="rejected", from_queue=QUEUE)
    story.settle("g")
    assert story.broken() == ()


def test_a_message_that_was_rejected_and_is_nowhere_is_seen() -> None:
    story = mortal()
    story.deliver("c")
    story.settle("c", how="reject")
    assert story.broken() == ("lost", "dead letters")


def test_a_message_that_was_settled_and_is_among_the_dead_is_seen() -> None:
    story = mortal()
    story.deliver("c")
    story.settle("c")
    story.deliver("g", died="rejected", from_queue=QUEUE)
    story.settle("g")
    assert story.broken() == ("dead letters",)


def test_a_message_that_died_twice_is_seen() -> None:
    story = mortal()
    story.deliver("c")
    story.settle("c", how="reject")
    for _ in range(2):
        story.deliver("g", died="rejected", from_queue=QUEUE)
        story.settle("g")
    assert story.broken() == ("settled", "flags", "kept")


def test_a_message_that_expired_where_nothing_expires_is_seen() -> None:
    story = mortal()
    story.deliver("g", died="expired", from_queue=QUEUE)
    story.settle("g")
    assert story.broken() == ("dead letters",)
    expected = mortal(BRIEF)
    expected.deliver("g", died="expired", from_queue=QUEUE)
    expected.settle("g")
    assert expected.broken() == ()


def answered_twice(late: How, here: How) -> Story:
    """`late` from a node that hung; the message had gone to another one meanwhile, where the answer was `here`."""
    story = mortal()
    story.consumer("d", node=2)
    story.fault(0, nodes=(0,))
    story.deliver("c")
    story.settle("c", how=late)
    story.deliver("d", redelivered=True)
    story.settle("d", how=here)
    story.fault(0, nodes=(0,), state="mended")
    story.fault(0, nodes=(0,), state="over")
    return story


def test_an_answer_from_a_node_that_hung_may_have_been_before_the_one_of_who_has_the_message_now() -> None:
    assert answered_twice("ack", "reject").broken() == ()
    died = answered_twice("reject", "ack")
    died.deliver("g", died="rejected", from_queue=QUEUE)
    died.settle("g")
    assert died.broken() == ()
    lost = answered_twice("reject", "reject")
    assert lost.broken() == ("lost", "dead letters")
