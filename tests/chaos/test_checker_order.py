"""The judge of a run is judged: where messages stand in a queue, how often they came back, and how old they become."""

from __future__ import annotations

import msgspec
import pytest

from chaos.checker.faults import AFTERMATH_SECONDS
from chaos.checker.trail import TornError
from chaos.history import Confirmed, FaultBegan, Queue, Stream, Synced
from tests.chaos.histories import BRIEF, GRAVES, QUEUE, Story, mortal

COUNTED = Queue(t=0, name=QUEUE, counted=True)
LIMITED = Queue(t=0, name=QUEUE, counted=True, delivery_limit=2, dead_letters="graves")
LIVES_SECONDS = 0.4
BRIEFLY_ELSEWHERE = Queue(t=0, name="elsewhere", expires=True, lives_seconds=LIVES_SECONDS)
BRIEFLY = Queue(t=0, name=QUEUE, dead_letters="graves", expires=True, lives_seconds=LIVES_SECONDS)


# ---- counts


def counted(*counts: int, queue: Queue = COUNTED, struck_after: int = 0) -> Story:
    """One message that comes back again and again, delivered with these counts; a fault after so many returns."""
    story = Story(queue, GRAVES)
    story.consumer("c")
    story.publish()
    for number, count in enumerate(counts):
        story.deliver("c", redelivered=number > 0, count=count)
        story.settle("c", how="requeue")
        if number + 1 == struck_after:
            story.fault(0, nodes=(1,))
            story.fault(0, nodes=(), state="mended")
            story.fault(0, nodes=(), state="over")
    return story


def test_a_delivery_count_above_all_returns_that_there_may_have_been_is_seen() -> None:
    story = counted(0, 1, 2)
    story.deliver("c", redelivered=True, count=3)
    story.settle("c")
    assert story.broken() == ()
    story = counted(0, 2)
    story.deliver("c", redelivered=True, count=3)
    story.settle("c")
    assert story.broken() == ("counts",)
    assert story.finding("counts").broken == 2


def test_what_a_lost_node_or_a_consumer_that_has_gone_held_unseen_may_count_as_returned() -> None:
    story = counted(0, 2, struck_after=1)
    story.deliver("c", redelivered=True, count=3)
    story.settle("c")
    assert story.broken() == ()
    went = counted(0)
    went.consumer("d")
    went.leave("d")
    went.deliver("c", redelivered=True, count=2)
    went.settle("c")
    assert went.broken() == ()
    far_too_often = counted(0, 9, struck_after=1)
    far_too_often.deliver("c", redelivered=True, count=10)
    far_too_often.settle("c")
    assert far_too_often.broken() == ("counts",)


@pytest.mark.parametrize(("returns", "broken"), [(3, ()), (2, ("counts",))])
def test_a_message_that_dies_before_it_came_back_too_often_is_seen(returns: int, broken: tuple[str, ...]) -> None:
    story = counted(*range(returns), queue=LIMITED)
    story.consumer("g", queue="graves")
    story.deliver("g", died="delivery_limit", from_queue=QUEUE)
    story.settle("g")
    assert story.broken() == broken


def test_a_message_that_comes_again_after_it_came_back_too_often_is_seen() -> None:
    story = counted(0, 1, 2, queue=LIMITED)
    story.deliver("c", redelivered=True, count=3)
    story.settle("c")
    assert story.broken() == ("counts",)


def test_a_delivery_count_that_forgets_a_return_is_seen() -> None:
    story = Story(COUNTED)
    story.consumer("c")
    story.publish()
    for count in (0, 0):
        story.deliver("c", redelivered=count > 0, count=count)
        story.settle("c", how="requeue")
    story.deliver("c", redelivered=True, count=2)
    story.settle("c")
    assert "counts" in story.broken()
    assert story.finding("counts").broken == 1


def test_a_return_that_only_the_next_delivery_proves_counts_too() -> None:
    story = Story(COUNTED)
    story.consumer("c")
    story.consumer("d", node=2)
    story.publish()
    story.deliver("c")
    story.settle("c", how="requeue", synced=False)
    story.deliver("d", redelivered=True, count=0)
    story.settle("d")
    assert "counts" in story.broken()


def test_a_return_by_a_consumer_that_went_before_the_next_delivery_proves_nothing() -> None:
    story = Story(COUNTED)
    story.consumer("c")
    story.consumer("d", node=2)
    story.publish()
    story.deliver("c")
    story.settle("c", how="requeue", synced=False)
    story.leave("c")
    story.deliver("d", redelivered=True, count=0)
    story.settle("d")
    assert "counts" not in story.broken()


# ---- order


def test_first_deliveries_that_change_places_are_seen() -> None:
    story = Story()
    story.consumer("c")
    story.publish(1, 3)
    story.deliver("c", 2)
    story.settle("c", 2)
    story.deliver("c", 1)
    story.settle("c", 1)
    assert story.broken() == ("order",)


def test_what_comes_back_may_come_after_what_was_published_later() -> None:
    story = Story()
    story.consumer("c")
    story.publish(1, 3)
    story.deliver("c", 1)
    story.deliver("c", 2)
    story.settle("c", 2)
    story.settle("c", 1, how="requeue")
    story.deliver("c", 1, redelivered=True)
    story.settle("c", 1)
    assert story.broken() == ()


def test_what_came_back_and_comes_at_the_end_of_the_queue_is_seen() -> None:
    story = Story()
    story.consumer("c")
    story.publish(1, 4)
    story.deliver("c", 1)
    story.settle("c", 1, how="requeue")
    for number in (2, 3):
        story.deliver("c", number)
        story.settle("c", number)
    story.deliver("c", 1, redelivered=True)
    story.settle("c", 1)
    assert story.broken() == ("order",)
    assert story.finding("order").broken == 1


@pytest.mark.parametrize(("seconds", "broken"), [(1.0, ()), (20.0, ("order",))])
@pytest.mark.parametrize("goes", [False, True])
def test_what_came_back_goes_to_anybody_before_anybody_gets_what_is_later(
    goes: bool, seconds: float, broken: tuple[str, ...]
) -> None:
    """Because it was given back, or because its consumer has gone. What was on its way may come a little later."""
    story = Story()
    for name in ("c", "d", "e"):
        story.consumer(name)
    story.publish(1, 3)
    story.deliver("c", 1)
    if goes:
        story.leave("c")
    else:
        story.settle("c", 1, how="requeue")
    story.wait(seconds)
    story.deliver("d", 2)
    story.settle("d", 2)
    story.wait(seconds)
    story.deliver("e", 1, redelivered=True)
    story.settle("e", 1)
    assert story.broken() == broken


@pytest.mark.parametrize("how", ["fault", "consumer"])
def test_what_came_back_may_have_been_with_somebody_who_is_gone(how: str) -> None:
    story = Story()
    story.consumer("c")
    story.consumer("d")
    story.publish(1, 3)
    story.deliver("c", 1)
    story.settle("c", 1, how="requeue")
    if how == "fault":
        story.fault(0, nodes=(2,))
    story.deliver("c", 2)
    story.settle("c", 2)
    if how == "consumer":
        story.leave("d")
    story.deliver("c", 1, redelivered=True)
    story.settle("c", 1)
    assert story.broken() == ()


@pytest.mark.parametrize(("hidden", "broken"), [(False, ("order",)), (True, ())])
def test_messages_that_nobody_has_had_come_in_order_whatever_their_flags_say(
    hidden: bool, broken: tuple[str, ...]
) -> None:
    story = Story()
    story.consumer("c")
    story.consumer("d")
    story.publish(1, 4)
    if hidden:
        story.leave("d")
    for number in (3, 2, 1):
        story.deliver("c", number, redelivered=True)
        story.settle("c", number)
    assert story.broken() == broken


def test_what_came_back_to_who_has_it_again_may_be_overtaken_by_nothing_but_what_was_before_it() -> None:
    story = Story()
    story.consumer("c")
    story.consumer("d")
    story.publish(1, 4)
    story.deliver("d", 2)
    story.settle("d", 2, how="requeue")
    story.deliver("c", 1)
    story.settle("c", 1)
    story.deliver("c", 2, redelivered=True)
    story.deliver("c", 3)
    for number in (2, 3):
        story.settle("c", number)
    assert story.broken() == ()


# ---- expiry


def brief(age_seconds: float, *, dies: bool, clock: bool = False, lives_seconds: float = LIVES_SECONDS) -> Story:
    """One message that is seen at this age: delivered, or among the dead."""
    story = mortal(BRIEFLY if lives_seconds else BRIEF)
    if clock:
        story.tell(FaultBegan(t=0, number=0, kind="clock", nodes=(), clocks=(0,)))
    story.wait(age_seconds)
    if dies:
        story.deliver("g", died="expired", from_queue=QUEUE)
        story.settle("g")
    else:
        story.deliver("c")
        story.settle("c")
    return story


def test_a_message_that_dies_of_age_before_its_time_is_seen() -> None:
    assert brief(0.1, dies=True).broken() == ("expiry",)
    assert brief(0.1, dies=True, clock=True).broken() == ()
    assert brief(0.1, dies=True, lives_seconds=0).broken() == ()
    well = brief(LIVES_SECONDS, dies=True)
    assert well.broken() == ()
    assert well.finding("expiry").checks == 1


def test_a_message_that_is_handed_out_long_after_its_time_is_seen() -> None:
    assert brief(0.1, dies=False).broken() == ()
    assert brief(3600, dies=False).broken() == ("expiry",)
    assert brief(3600, dies=False, clock=True).broken() == ()


def test_a_node_that_starts_while_its_clock_is_wrong_goes_by_that() -> None:
    story = mortal(BRIEFLY)
    story.tell(FaultBegan(t=0, number=0, kind="clock", nodes=(), clocks=(0,)))
    story.fault(1, nodes=(1,))
    for number in (1, 0):
        story.fault(number, nodes=(), state="over")
    story.wait(100)
    story.publish(2, 3)
    story.deliver("g", 2, died="expired", from_queue=QUEUE)
    story.settle("g", 2)
    story.deliver("c")
    story.settle("c")
    assert story.broken() == ("expiry",)
    story.records = [
        msgspec.structs.replace(record, nodes=(0,)) if isinstance(record, FaultBegan) and record.number else record
        for record in story.records
    ]
    assert story.broken() == ()


def test_a_message_may_have_a_time_to_live_of_its_own() -> None:
    story = brief(0.1, dies=True, lives_seconds=0)
    index = next(i for i, record in enumerate(story.records) if isinstance(record, Stream))
    story.records[index] = msgspec.structs.replace(story.records[index], lives_seconds=LIVES_SECONDS)
    assert story.broken() == ("expiry",)


# ---- several faults at once


@pytest.mark.parametrize(("nodes", "broken"), [((1, 2), ()), ((1,), ("dead letters",)), ((1, 1), ("dead letters",))])
def test_what_a_node_held_that_two_faults_of_others_left_alone_may_have_died_before_it_was_acked(
    nodes: tuple[int, ...], broken: tuple[str, ...]
) -> None:
    story = mortal(BRIEF)
    story.deliver("c")
    for number, node in enumerate(nodes):
        story.fault(number, nodes=(node,))
    story.settle("c", synced=False)
    for number in range(len(nodes)):
        story.fault(number, nodes=(), state="mended")
        story.fault(number, nodes=(), state="over")
    story.tell(Synced(t=0, k="c", asked=story.now))
    story.wait(2 * AFTERMATH_SECONDS)
    story.deliver("g", died="expired", from_queue=QUEUE)
    story.settle("g")
    assert story.broken() == broken


def test_after_two_nodes_are_back_nobody_is_excused_by_what_had_struck_them_all() -> None:
    story = Story()
    story.consumer("c")
    story.fault(0, nodes=(0, 1, 2))
    story.fault(0, nodes=(), state="mended")
    story.wait(2 * AFTERMATH_SECONDS)
    story.publish(confirmed=False)
    story.wait(10)
    story.tell(Confirmed(t=0, s="p", first=1, end=2))
    story.fault(0, nodes=(), state="over")
    assert "availability" in story.broken()


def test_a_message_with_an_age_that_came_where_it_was_not_sent_is_judged() -> None:
    story = Story(Queue(t=0, name=QUEUE), BRIEFLY_ELSEWHERE)
    story.consumer("c", queue="elsewhere")
    story.publish()
    story.deliver("c")
    story.settle("c")
    assert "phantom" in story.broken()


def test_a_history_without_the_beginning_of_a_consumer_is_torn() -> None:
    story = Story()
    story.publish()
    story.deliver("never-came")
    with pytest.raises(TornError, match="never-came"):
        story.verdict()
