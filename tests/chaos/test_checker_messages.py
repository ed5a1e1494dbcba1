"""The judge of a run is judged: what becomes of messages, from the publisher's answer to the consumer's."""

from __future__ import annotations

import pytest

from chaos.history import Confirmed, Delivered, Left, Queue, Refused, StreamEnded
from tests.chaos.histories import GRAVES, QUEUE, STREAM, Story, well

# ---- lost


def test_what_was_confirmed_and_never_came_is_lost() -> None:
    story = Story()
    story.publish()
    assert story.broken() == ("lost",)


def test_what_came_to_one_of_two_queues_only_is_lost() -> None:
    story = Story(Queue(t=0, name=QUEUE), Queue(t=0, name="other"), goes_to=(QUEUE, "other"))
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.settle("c")
    assert story.broken() == ("lost",)


def test_what_was_given_back_and_did_not_come_again_is_lost() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.settle("c", how="requeue")
    assert story.broken() == ("lost",)


def test_what_is_still_in_the_queue_is_not_lost_but_left() -> None:
    story = Story()
    story.publish(1, 3)
    story.tell(Left(t=0, queue=QUEUE, messages=2))
    assert story.broken() == ("drained",)
    missing = Story()
    missing.publish(1, 4)
    missing.tell(Left(t=0, queue=QUEUE, messages=2))
    assert missing.broken() == ("lost", "drained")


def test_what_was_refused_or_never_answered_may_stay_away() -> None:
    story = Story()
    story.publish(1, 3, confirmed=False)
    story.tell(Refused(t=0, s=STREAM, first=1, end=2))
    story.tell(StreamEnded(t=0, s=STREAM, orderly=True))
    assert story.broken() == ()


@pytest.mark.parametrize("traits", [Queue(t=0, name=QUEUE, expires=True), Queue(t=0, name=QUEUE, overflows=True)])
def test_what_may_die_where_the_dead_are_not_kept_is_not_lost(traits: Queue) -> None:
    story = Story(traits)
    story.publish()
    story.wait(100)
    assert story.broken() == ()


def test_what_was_rejected_where_the_dead_are_not_kept_is_not_lost() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.settle("c", how="reject")
    assert story.broken() == ()


# ---- answers


@pytest.mark.parametrize("first", [Confirmed, Refused])
def test_a_publish_that_is_confirmed_and_refused_is_seen(first: type[Confirmed | Refused]) -> None:
    story = Story()
    story.consumer("c")
    story.publish(confirmed=False)
    second = Refused if first is Confirmed else Confirmed
    story.tell(first(t=0, s=STREAM, first=1, end=2))
    story.tell(second(t=0, s=STREAM, first=1, end=2))
    if first is Confirmed:
        story.deliver("c")
        story.settle("c")
    assert story.broken() == ("answers",)


def test_what_was_confirmed_is_not_forgotten_because_it_is_refused_later() -> None:
    story = Story()
    story.publish()
    story.tell(Refused(t=0, s=STREAM, first=1, end=2))
    assert story.broken() == ("answers", "lost")


def test_a_confirm_of_what_was_never_published_is_seen() -> None:
    story = well()
    story.tell(Confirmed(t=0, s=STREAM, first=5, end=9))
    assert story.broken() == ("answers",)
    assert story.finding("answers").broken == 4


# ---- phantom


def test_a_body_that_is_not_what_its_hash_says_is_a_phantom() -> None:
    story = well()
    story.tell(Delivered(t=0, k="c", s="", n=0, intact=False))
    assert story.broken() == ("phantom",)


def test_what_was_never_published_is_a_phantom() -> None:
    story = well()
    story.deliver("c", 2)
    assert story.broken() == ("phantom",)


def test_what_was_delivered_before_it_was_published_is_a_phantom() -> None:
    story = Story()
    story.consumer("c")
    story.deliver("c")
    story.publish(confirmed=False)
    assert story.broken() == ("phantom",)


def test_what_comes_from_a_queue_that_it_was_not_sent_to_is_a_phantom() -> None:
    story = Story(Queue(t=0, name=QUEUE), Queue(t=0, name="other"))
    story.consumer("c", queue="other")
    story.publish(confirmed=False)
    story.deliver("c")
    assert story.broken() == ("phantom",)


def test_what_was_refused_and_is_delivered_is_a_phantom() -> None:
    story = Story()
    story.consumer("c")
    story.publish(confirmed=False)
    story.tell(Refused(t=0, s=STREAM, first=1, end=2))
    story.deliver("c")
    assert story.broken() == ("phantom",)


def test_what_was_refused_because_the_queue_is_full_may_be_among_its_dead() -> None:
    story = Story(Queue(t=0, name=QUEUE, dead_letters="graves", overflows=True), GRAVES)
    story.consumer("g", queue="graves")
    story.publish(confirmed=False)
    story.tell(Refused(t=0, s=STREAM, first=1, end=2))
    story.deliver("g", died="maxlen", from_queue=QUEUE)
    story.settle("g")
    assert story.broken() == ()


# ---- settled, flags, kept


def test_what_was_settled_for_good_and_comes_again_is_seen() -> None:
    story = well()
    story.leave("c")
    story.consumer("d")
    story.deliver("d", redelivered=True)
    assert story.broken() == ("settled",)


def test_what_was_settled_without_a_synchronous_reply_may_come_again() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.settle("c", synced=False)
    story.leave("c")
    story.consumer("d")
    story.deliver("d", redelivered=True)
    assert story.broken() == ()


def test_a_node_that_stood_still_may_hand_out_late_what_somebody_else_has_settled() -> None:
    story = Story()
    story.consumer("c", node=0)
    story.consumer("d", node=2)
    story.publish()
    story.fault(0, nodes=(2,))
    story.deliver("c", redelivered=True)
    story.settle("c")
    story.deliver("d")
    assert story.broken() == ()


def test_two_deliveries_that_both_say_that_they_are_the_first_are_seen() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.leave("c")
    story.consumer("d")
    story.deliver("d")
    story.settle("d")
    assert story.broken() == ("flags",)


def test_a_return_that_comes_again_as_a_first_delivery_is_seen() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c", redelivered=True)
    story.settle("c", how="requeue")
    story.deliver("c")
    story.settle("c")
    assert story.broken() == ("flags",)


def test_a_fault_that_was_over_when_a_consumer_began_excuses_nothing_that_it_gets() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.fault(0, nodes=(2,))
    story.settle("c")
    story.fault(0, nodes=(2,), state="mended")
    story.fault(0, nodes=(2,), state="over")
    story.wait(30)
    story.consumer("d", node=2)
    story.deliver("d", redelivered=True)
    story.settle("d")
    assert "settled" in story.broken()


def test_what_a_consumer_holds_and_another_one_gets_is_seen() -> None:
    story = Story()
    story.consumer("c")
    story.consumer("d", node=2)
    story.publish()
    story.deliver("c")
    story.deliver("d", redelivered=True)
    story.settle("d")
    assert story.broken() == ("kept",)


def test_what_the_consumer_of_a_struck_node_held_goes_to_another_one() -> None:
    story = Story()
    story.consumer("c", node=0)
    story.consumer("d", node=2)
    story.publish()
    story.deliver("c")
    story.fault(0, nodes=(0,))
    story.deliver("d", redelivered=True)
    story.settle("d")
    assert story.broken() == ()


@pytest.mark.parametrize(("kind", "broken"), [("flapping", ()), ("stop", ("kept",))])
def test_links_that_come_and_go_break_for_nodes_at_their_other_ends_too(kind: str, broken: tuple[str, ...]) -> None:
    story = Story()
    story.consumer("c", node=0)
    story.consumer("d", node=2)
    story.publish()
    story.deliver("c")
    story.fault(0, nodes=(1,), kind=kind)
    story.deliver("d", redelivered=True)
    story.settle("d")
    assert story.broken() == broken


# ---- deduplication


def published_again(*, redelivered: bool) -> Story:
    story = Story(Queue(t=0, name=QUEUE, deduplicates=True))
    story.consumer("c")
    story.publish(1, 3, confirmed=False)
    story.tell(Confirmed(t=0, s=STREAM, first=2, end=3))
    story.tell(StreamEnded(t=0, s=STREAM, orderly=True))
    story.deliver("c", 2)
    story.settle("c", 2)
    story.publish()
    story.deliver("c")
    story.settle("c", how="requeue")
    story.deliver("c", redelivered=redelivered)
    story.settle("c")
    return story


def test_a_message_that_was_published_twice_may_come_late_and_is_there_once() -> None:
    story = published_again(redelivered=True)
    assert story.broken() == ()
    assert story.finding("once").checks == 1


def test_a_message_that_is_there_as_often_as_it_was_published_is_seen() -> None:
    assert published_again(redelivered=False).broken() == ("flags", "once")


def test_a_second_try_that_is_refused_says_nothing_of_the_first() -> None:
    story = Story(Queue(t=0, name=QUEUE, deduplicates=True))
    story.consumer("c")
    story.publish(confirmed=False)
    story.tell(StreamEnded(t=0, s=STREAM, orderly=True))
    story.publish(confirmed=False)
    story.tell(Refused(t=0, s=STREAM, first=1, end=2))
    story.deliver("c")
    story.settle("c")
    assert story.broken() == ()
