"""The judge of a run is judged: it passes what is well, and sees a cluster that does not hold together."""

from __future__ import annotations

import pytest

from chaos.checker.verdict import INVARIANTS, judge
from chaos.history import (
    Compared,
    Defined,
    FaultBegan,
    Formed,
    Healthy,
    Left,
    Looked,
    Refused,
    StreamEnded,
    Stuck,
    Used,
)
from tests.chaos.histories import GRAVES, MORTAL, QUEUE, STREAM, Story, well


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
