"""The judge of a run is judged: it sees each broken promise, and what a fault excuses it lets pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.checker.verdict import INVARIANTS, judge
from chaos.history import (
    Compared,
    Confirmed,
    Defined,
    Delivered,
    FaultBegan,
    Formed,
    Healthy,
    How,
    Left,
    Looked,
    Queue,
    Record,
    Refused,
    StreamEnded,
    Stuck,
    Transaction,
    Used,
)
from chaos.history_file import Ended, History, HistoryWriter
from tests.chaos.histories import GRAVES, MORTAL, QUEUE, STREAM, Story, mortal

SINGLE = Queue(t=0, name=QUEUE, single_active=True)
BRIEF = Queue(t=0, name=QUEUE, dead_letters="graves", expires=True)


def well() -> Story:
    """One message, from publish to a committed ack."""
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.settle("c")
    return story


def test_a_message_that_is_confirmed_delivered_and_acked_is_well() -> None:
    assert well().broken() == ()


def test_the_figures_are_counts_of_messages() -> None:
    figures = well().verdict().figures
    assert (figures.published, figures.confirmed, figures.delivered, figures.redelivered) == (1, 1, 1, 0)


def test_a_claim_that_nothing_was_looked_at_for_fails_the_run() -> None:
    story = Story(claims=("lost", "transactions"))
    verdict = story.verdict()
    assert verdict.unchecked == ("lost", "transactions")
    assert not verdict.passed
    assert "lost never checked" in verdict.line()


def test_a_history_that_claims_nothing_passes_nothing() -> None:
    _, verdict = judge([])
    assert not verdict.passed
    assert verdict.line().startswith("FAILED (nothing was claimed): 0 faults")


def test_what_was_still_under_way_when_a_run_was_interrupted_is_not_called_lost() -> None:
    story = Story(MORTAL, GRAVES, claims=("lost", "dead letters", "drained"))
    story.consumer("c")
    story.publish(1, 3)
    story.deliver("c")
    story.settle("c", how="reject")
    verdict = story.verdict()
    assert verdict.broken == ()
    assert verdict.unchecked == ("lost", "dead letters", "drained")
    story.tell(Left(t=0, queue=QUEUE, messages=0))
    assert story.broken() == ("lost", "dead letters")


def test_a_claim_that_there_is_no_judge_for_is_refused() -> None:
    with pytest.raises(ValueError, match="no such invariant: weather"):
        Story(claims=("weather",)).verdict()


def test_every_invariant_says_what_it_holds_to_be_true() -> None:
    assert all(judge.__doc__ for judge in INVARIANTS.values())


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


# ---- definitions


@pytest.mark.parametrize(("op", "seen"), [("declare", False), ("delete", True)])
def test_a_definition_that_another_node_does_not_know_is_seen(op: str, seen: bool) -> None:
    story = Story()
    story.tell(Defined(t=0, name="d", node=0, op="declare", asked=story.now, known=True))
    if op == "delete":
        story.tell(Defined(t=0, name="d", node=0, op="delete", asked=story.now, known=True))
    story.tell(Looked(t=0, name="d", node=1, asked=story.now, seen=seen))
    assert story.broken() == ("definitions",)


def test_a_node_that_is_cut_off_may_still_show_what_was_deleted_but_may_not_miss_what_was_declared() -> None:
    story = Story()
    story.fault(0, nodes=(1,))
    story.tell(Defined(t=0, name="d", node=0, op="declare", asked=story.now, known=True))
    story.tell(Defined(t=0, name="d", node=0, op="delete", asked=story.now, known=True))
    story.tell(Looked(t=0, name="d", node=1, asked=story.now, seen=True))
    assert story.broken() == ()
    story.tell(Defined(t=0, name="e", node=0, op="declare", asked=story.now, known=True))
    story.tell(Looked(t=0, name="e", node=1, asked=story.now, seen=False))
    assert story.broken() == ("definitions",)


@pytest.mark.parametrize(("disturbed", "broken"), [(1, ()), (2, ("definitions",))])
def test_a_node_that_missed_a_deletion_may_take_what_is_gone_for_what_is_declared(
    disturbed: int, broken: tuple[str, ...]
) -> None:
    story = Story()
    story.fault(0, nodes=(disturbed,))
    story.tell(Defined(t=0, name="d", node=0, op="declare", asked=story.now, known=True))
    story.tell(Defined(t=0, name="d", node=0, op="delete", asked=story.now, known=True))
    story.tell(Defined(t=0, name="d", node=1, op="declare", asked=story.now, known=True))
    story.tell(Looked(t=0, name="d", node=0, asked=story.now, seen=False))
    assert story.broken() == broken


@pytest.mark.parametrize(
    ("seconds", "nodes", "broken"), [(1.2, (2,), ()), (0.2, (2,), ("definitions",)), (1.2, (1, 2), ("definitions",))]
)
def test_a_node_that_was_not_waited_for_may_show_what_is_deleted_for_a_moment(
    seconds: float, nodes: tuple[int, ...], broken: tuple[str, ...]
) -> None:
    """A node that does not say that it knows is waited for for a second."""
    story = Story()
    story.tell(Defined(t=0, name="d", node=0, op="declare", asked=story.now, known=True))
    asked = story.now
    story.wait(seconds)
    story.tell(Defined(t=0, name="d", node=0, op="delete", asked=asked, known=True))
    for node in nodes:
        story.tell(Looked(t=0, name="d", node=node, asked=story.now, seen=True))
    assert story.broken() == broken
    story.wait(5)
    story.tell(Looked(t=0, name="d", node=2, asked=story.now, seen=True))
    assert story.broken() == ("definitions",)


def test_a_definition_that_was_never_answered_may_be_there_or_not() -> None:
    story = Story()
    story.tell(Defined(t=0, name="d", node=0, op="declare", asked=story.now, known=False))
    story.tell(Looked(t=0, name="d", node=1, asked=story.now, seen=True))
    story.tell(Looked(t=0, name="d", node=1, asked=story.now, seen=False))
    assert story.broken() == ()
    assert story.finding("definitions").checks == 0


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


# ---- availability, minority, recovery


def test_publishers_that_wait_too_long_while_a_majority_is_there_are_seen() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.publish(2, 3, confirmed=False)
    story.fault(0, nodes=(0,))
    story.wait(6)
    story.publish(3, 4)
    for number in (1, 3):
        story.deliver("c", number)
        story.settle("c", number)
    assert story.broken() == ("availability",)
    assert story.verdict().figures.longest_gap_seconds == pytest.approx(6, abs=0.1)


def test_without_a_majority_nobody_has_to_be_confirmed() -> None:
    story = Story()
    story.consumer("c")
    story.publish()
    story.fault(0, nodes=(0, 2))
    story.publish(2, 3, confirmed=False)
    story.wait(6)
    story.fault(0, nodes=(), state="mended")
    story.wait(1)
    story.publish(3, 4)
    for number in (1, 3):
        story.deliver("c", number)
        story.settle("c", number)
    assert story.broken() == ()
    assert story.verdict().figures.longest_gap_seconds == pytest.approx(1, abs=0.1)


def test_two_nodes_that_do_not_hear_each_other_are_no_majority_without_the_third() -> None:
    story = Story()
    story.tell(FaultBegan(t=0, number=0, kind="ring", nodes=(0, 2), cut=((0, 2),)))
    story.wait(6)
    story.publish(1, 2)
    assert story.broken() == ("lost",)
    cut_off = Story()
    cut_off.tell(FaultBegan(t=0, number=0, kind="ring", nodes=(0, 2), cut=((0, 2),)))
    cut_off.publish(1, 2, confirmed=False)
    cut_off.tell(FaultBegan(t=0, number=1, kind="kill-one", nodes=(), down=(1,)))
    cut_off.wait(6)
    cut_off.publish(2, 3)
    assert cut_off.broken() == ("lost",)


@pytest.mark.parametrize(("seconds", "broken"), [(4.0, ()), (9.0, ("minority",))])
def test_a_node_that_is_cut_off_and_says_nothing_is_seen(seconds: float, broken: tuple[str, ...]) -> None:
    story = Story()
    story.fault(0, nodes=(1,), minority=(1,))
    story.wait(4)
    story.publish(confirmed=False)
    story.wait(seconds)
    story.tell(Refused(t=0, s=STREAM, first=1, end=2))
    story.wait(9)
    story.fault(0, nodes=(), state="mended")
    story.fault(0, nodes=(), state="over")
    assert story.broken() == broken
    assert story.finding("minority").checks == 1


def test_a_client_that_loses_its_connection_to_a_node_that_nothing_was_done_to_is_seen() -> None:
    story = well()
    story.tell(StreamEnded(t=0, s=STREAM))
    assert story.broken() == ("connections",)
    struck = Story()
    struck.fault(0, nodes=(1,))
    struck.tell(StreamEnded(t=0, s=STREAM))
    assert struck.broken() == ()


def test_a_cluster_that_does_not_get_over_a_fault_is_seen() -> None:
    story = well()
    story.tell(Healthy(t=0, seconds=3.0))
    assert story.broken() == ()
    story.tell(Stuck(t=0, why="not within 90 s: the cluster healthy"))
    assert story.broken() == ("recovery",)


# ---- the end


def test_messages_that_nobody_gets_are_seen() -> None:
    story = well()
    story.tell(Left(t=0, queue=QUEUE, messages=1))
    assert story.broken() == ("drained",)


def test_nodes_that_form_another_cluster_after_a_restart_are_seen() -> None:
    story = well()
    story.tell(Formed(t=0, clusters=("a", "a", "a")))
    story.tell(Formed(t=0, clusters=("a", "a", "a"), restarted=True))
    assert story.broken() == ()
    story.tell(Formed(t=0, clusters=("a", "a", "b"), restarted=True))
    assert story.broken() == ("same cluster",)


def test_replicas_that_are_not_equal_or_do_not_say_so_are_seen() -> None:
    story = well()
    story.tell(Compared(t=0, group=0, verdict="agree", replicas=3))
    assert story.broken() == ()
    for one in (
        Compared(t=0, group=1, verdict="differ", replicas=3),
        Compared(t=0, group=1, verdict="unknown", replicas=2),
        Compared(t=0, group=1, verdict="agree", replicas=2),
    ):
        seen = well()
        seen.tell(one)
        assert seen.broken() == ("replicas",)


def test_a_store_that_does_not_give_its_space_back_is_seen() -> None:
    story = well()
    story.tell(Used(t=0, when="baseline", by_node=(1, 1, 1)))
    story.tell(Used(t=0, when="end", by_node=(1, 1 << 30, 1)))
    assert story.broken() == ("disk",)


# ---- reading


BOTH = Ended(t=9, files=("a", "b"))


def _history(path: Path, *ends: Ended) -> None:
    files: dict[str, list[Record]] = {
        "a": [Healthy(t=1, seconds=0), Healthy(t=4, seconds=0), *ends],
        "b": [Healthy(t=2, seconds=0), Healthy(t=3, seconds=0)],
    }
    for name, records in files.items():
        writer = HistoryWriter(path, name)
        for record in records:
            writer.write(record)
        writer.close()


def _read(path: Path) -> tuple[list[float], list[str]]:
    history = History(path)
    return [record.t for record in history.records()], history.missing()


def test_the_files_of_a_run_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    assert _read(tmp_path) == ([1, 2, 3, 4], [])


def test_a_line_that_a_killed_client_did_not_finish_is_left_out_and_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    content = (tmp_path / "b.jsonl").read_bytes()
    (tmp_path / "b.jsonl").write_bytes(content[: content.rindex(b"closed")])
    assert _read(tmp_path) == ([1, 2, 3, 4], ["b.jsonl is cut off in record 3"])


def test_a_file_that_is_cut_off_at_the_end_of_a_line_is_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(lines[0])
    missing = ["b.jsonl has no end after record 1"]
    assert _read(tmp_path) == ([1, 2, 4], missing)


def test_lines_that_are_missing_in_the_middle_of_a_file_are_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines[1:]))
    assert _read(tmp_path) == ([1, 3, 4], ["b.jsonl has 1 records where 2 were written"])


def test_a_file_that_goes_on_after_its_end_is_two(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(b'{"e":"healthy","t":5,"seconds":1}\n')
    assert "b.jsonl" in _read(tmp_path)[1][0]


def test_a_whole_file_that_is_not_there_is_missed(tmp_path: Path) -> None:
    _history(tmp_path, BOTH)
    (tmp_path / "b.jsonl").unlink()
    assert _read(tmp_path) == ([1, 4], ["b.jsonl is not there"])


def test_a_run_that_was_interrupted_has_no_end(tmp_path: Path) -> None:
    _history(tmp_path)
    assert _read(tmp_path)[1] == ["the run was interrupted: nothing says that it came to its end"]


def test_what_a_client_did_not_close_that_had_to_be_killed_is_not_missed(tmp_path: Path) -> None:
    """The run says that it was stuck, and fails for that."""
    _history(tmp_path, Ended(t=9, files=("a", "b"), failed=("b",)))
    lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_bytes(lines[0])
    assert _read(tmp_path) == ([1, 2, 4], [])
