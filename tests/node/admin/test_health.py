"""Judgement of reports: readiness of a node, and the verdict on a cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.node.admin.health import READY_LAG_MAX, Health, Verdict, group_views, judge, not_ready_reason, state
from cluster.node.admin.report import NodeReport, decode_report, encode_report
from tests.node.admin.fake_source import cluster_report, group_report, node_report


def verdict(*reports: NodeReport) -> Verdict:
    cluster = cluster_report(*reports)
    return judge(cluster, group_views(cluster))


def leaderless(name: str) -> NodeReport:
    groups = tuple(group_report(group, name, role="candidate", leader="", match_indexes={}) for group in (0, 1))
    return node_report(name, groups=groups)


def test_a_running_node_with_a_catalog_leader_and_no_lag_is_ready() -> None:
    assert not_ready_reason(node_report("mq-1")) is None
    assert state(node_report("mq-1")) == "ready"


@pytest.mark.parametrize("phase", ["starting", "draining"])
def test_a_node_that_starts_or_drains_is_not_ready(phase: str) -> None:
    assert not_ready_reason(node_report("mq-1", phase=phase)) == phase


def test_a_node_that_starts_and_waits_for_a_quorum_says_so() -> None:
    report = replace(leaderless("mq-1"), phase="starting")
    assert not_ready_reason(report) == "starting: the catalog group has no leader"
    assert state(report) == "starting"


def test_a_node_without_a_catalog_leader_is_not_ready() -> None:
    assert not_ready_reason(leaderless("mq-1")) == "the catalog group has no leader"
    assert not_ready_reason(node_report("mq-1", groups=())) == "the catalog group has no leader"
    assert state(leaderless("mq-1")) == "no-leader"


def test_a_replica_far_behind_what_is_committed_makes_the_node_not_ready() -> None:
    shard = group_report(1, "mq-1", commit_index=5000, applied_index=5000 - READY_LAG_MAX)
    assert not_ready_reason(node_report("mq-1", groups=(group_report(0, "mq-1"), shard))) is None
    behind = replace(shard, applied_index=shard.applied_index - 1)
    report = node_report("mq-1", groups=(group_report(0, "mq-1"), behind))
    assert not_ready_reason(report) == "catching up: group 1 is 1,001 entries behind"
    assert state(report) == "catching-up"


def test_a_cluster_of_three_ready_nodes_is_healthy_and_can_lose_one() -> None:
    assert verdict(*map(node_report, ("mq-0", "mq-1", "mq-2"))) == Verdict(Health.HEALTHY, 1, ())


def test_one_node_down_names_the_nodes_that_must_not_stop() -> None:
    found = verdict(node_report("mq-0"), node_report("mq-1"))
    assert (found.health, found.can_lose) == (Health.DEGRADED, 0)
    assert found.problems == (
        "Do not stop mq-0 or mq-1: it would cost a quorum.",
        "mq-2 is unreachable: connection refused",
    )


def test_a_minority_says_what_is_missing_and_that_nothing_is_discarded() -> None:
    found = verdict(leaderless("mq-1"))
    assert (found.health, found.can_lose) == (Health.NO_QUORUM, 0)
    assert found.problems[0] == (
        "NO QUORUM in groups 0, 1: 1/3 (need 2). Publishing refused, no data discarded. "
        "Missing: mq-0 (connection refused), mq-2 (connection refused)"
    )


def test_a_group_without_a_leader_an_alarm_and_a_stopped_replica_are_problems() -> None:
    stopped = group_report(1, "mq-2", role="stopped", leader="", fault="checksum of entry 17 does not match")
    reports = [
        node_report("mq-0", groups=(group_report(0, "mq-0"), group_report(1, "mq-0", role="follower"))),
        node_report("mq-1", alarms=("memory",)),
        node_report("mq-2", groups=(group_report(0, "mq-2"), stopped)),
    ]
    found = verdict(*reports)
    assert found.health is Health.DEGRADED
    assert found.problems == (
        "Do not stop mq-0 or mq-1: it would cost a quorum.",
        "mq-1: memory alarm: publishers are blocked, consumers go on",
        "group 1 has no leader",
        "group 1 on mq-2: checksum of entry 17 does not match",
    )


def test_the_lag_of_a_node_that_is_down_is_what_its_leader_knows() -> None:
    view = group_views(cluster_report(node_report("mq-0"), node_report("mq-1")))[0]
    assert view.lags == {"mq-0": 0, "mq-1": 0, "mq-2": 1}
    assert view.critical_nodes == ("mq-0", "mq-1")


def test_a_voter_that_its_leader_sees_far_behind_is_no_help_whatever_it_knows_itself() -> None:
    leader = group_report(1, "mq-0", commit_index=9_000, applied_index=9_000)
    behind = group_report(1, "mq-1", commit_index=100, applied_index=100)
    level = group_report(1, "mq-2", commit_index=9_000, applied_index=8_000)
    reports = [
        node_report(name, groups=(group_report(0, name), shard))
        for name, shard in (("mq-0", leader), ("mq-1", behind), ("mq-2", level))
    ]
    assert verdict(*reports) == Verdict(
        Health.DEGRADED,
        0,
        (
            "Do not stop mq-0 or mq-2: it would cost a quorum.",
            "mq-1 is catching up: group 1 is 8,900 entries behind",
        ),
    )


def test_a_voter_that_lacks_more_than_its_leader_has_in_memory_is_not_counted_however_few_entries_that_are() -> None:
    leader = group_report(1, "mq-0", commit_index=300, applied_index=300, far=("mq-1",))
    others = {name: group_report(1, name, commit_index=230, applied_index=230) for name in ("mq-1", "mq-2")}
    reports = [
        node_report(name, groups=(group_report(0, name), shard)) for name, shard in {"mq-0": leader, **others}.items()
    ]
    assert verdict(*reports) == Verdict(
        Health.DEGRADED,
        0,
        (
            "Do not stop mq-0 or mq-2: it would cost a quorum.",
            "mq-1 is catching up: group 1 is 70 entries behind",
        ),
    )


def test_the_leader_of_the_highest_term_is_believed() -> None:
    old = node_report("mq-0", groups=(group_report(0, "mq-0", term=6),))
    new = node_report("mq-1", groups=(group_report(0, "mq-1", role="leader", leader="mq-1", term=8),))
    view = group_views(cluster_report(old, new))[0]
    assert (view.leader, view.term) == ("mq-1", 8)


def test_a_cluster_of_one_is_healthy_and_can_lose_none() -> None:
    alone = node_report("mq-0", groups=(group_report(0, "mq-0", voters=("mq-0",), match_indexes={}),))
    cluster = replace(cluster_report(alone), members=cluster_report(alone).members[:1])
    assert judge(cluster, group_views(cluster)) == Verdict(Health.HEALTHY, 0, ())


def test_a_cluster_that_is_not_founded_is_degraded() -> None:
    found = verdict(*(node_report(name, groups=(), phase="starting") for name in ("mq-0", "mq-1", "mq-2")))
    assert found.health is Health.DEGRADED
    assert found.problems[-1] == "the cluster is not founded yet"


def test_a_report_survives_the_way_between_nodes() -> None:
    report = node_report("mq-0", alarms=("disk",))
    assert decode_report(encode_report(report)) == report
    with pytest.raises(ValueError, match="Expected `object`"):
        decode_report(b"\x01")


def away(*names: str, members: int, seconds: float | None = 61.0) -> tuple[str, ...]:
    """The last problem of a cluster of so many members of which these do not answer."""
    everybody = [f"mq-{ordinal}" for ordinal in range(members)]
    one = cluster_report(node_report("mq-0")).members[0]
    rows = [
        replace(
            one,
            name=name,
            report=None if name in names else replace(node_report("mq-0"), name=name),
            last_seen_seconds=seconds,
        )
        for name in everybody
    ]
    cluster = replace(cluster_report(), members=tuple(rows), answered_by="mq-0")
    return tuple(line for line in judge(cluster, group_views(cluster)).problems if "count" in line)


def test_who_has_been_away_still_counts_and_it_is_said_how_to_let_them_go() -> None:
    assert away("mq-3", "mq-4", members=5) == (
        "mq-3 and mq-4 have been away and still count: start them again, or, gone for good, let go: "
        "clusterctl nodes scale 3",
    )
    assert away("mq-2", members=3) == (
        "mq-2 has been away and still counts: start it again, or, gone for good, let go: clusterctl nodes remove mq-2",
    )
    assert away("mq-1", "mq-4", members=5)[0].endswith("clusterctl nodes remove mq-1, clusterctl nodes remove mq-4")
    assert away("mq-2", members=3, seconds=59.0) == ()
    assert len(away("mq-2", members=3, seconds=None)) == 1, "not seen in all the time that this node has been up"


def test_without_a_quorum_they_have_to_come_back_first() -> None:
    (line,) = away("mq-1", "mq-2", members=3)
    assert line.endswith(
        "start them again. Only with a quorum can anybody be let go: "
        "clusterctl nodes remove mq-1, clusterctl nodes remove mq-2"
    )
