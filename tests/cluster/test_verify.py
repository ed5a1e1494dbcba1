"""`clusterctl verify` on a real cluster: replicas agree, and one that cannot be compared does not."""

from __future__ import annotations

import json

import pytest

from cluster.clusterctl.main import main
from cluster.node.verification import judge
from tests.cluster.harness import LocalCluster


def test_all_replicas_of_a_cluster_hold_the_same(cluster: LocalCluster, capsys: pytest.CaptureFixture[str]) -> None:
    connection = cluster.connect(0)
    channel = connection.channel()
    for number in range(8):
        channel.queue_declare(f"verified-{number}", durable=True)
        for _ in range(20):
            channel.basic_publish("", f"verified-{number}", b"x")
    channel.basic_get("verified-1", auto_ack=True)
    assert main(["--url", cluster.url(1), "verify", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "agree"
    assert len(document["groups"]) == 9
    for group in document["groups"]:
        assert group["index"] > 0
        assert group["conflict"] == 0
        assert group["entries"] > 0
        assert len({replica["digest"] for replica in group["replicas"]}) == 1
        assert len(group["replicas"]) == 3
    assert main(["--url", cluster.url(2), "verify"]) == 0
    assert capsys.readouterr().out.endswith("\nAll replicas of 9 groups hold the same.\n")
    for number in range(8):
        channel.queue_delete(f"verified-{number}")
    connection.close()


SAME = {1: 1, 2: 1, 3: 2}


def test_replicas_differ_by_state() -> None:
    verdict = judge(4, {"a": (3, "x", SAME), "b": (3, "x", SAME), "c": (3, "y", SAME)}, {})
    assert (verdict.verdict, verdict.entries, verdict.conflict) == ("differ", 3, 0)


def test_replicas_differ_by_the_place_of_the_mark_or_by_terms() -> None:
    assert judge(4, {"a": (3, "x", SAME), "b": (4, "x", SAME)}, {}).verdict == "differ"
    verdict = judge(4, {"a": (3, "x", SAME), "b": (3, "x", {2: 2, 3: 2})}, {})
    assert (verdict.verdict, verdict.conflict) == ("differ", 2)


def test_a_replica_that_is_not_heard_is_unknown_and_a_difference_among_the_others_is_worse() -> None:
    assert judge(4, {"a": (3, "x", SAME)}, {"b": "the link is down"}).verdict == "unknown"
    assert judge(4, {}, {"b": "the link is down"}).verdict == "unknown"
    assert judge(4, {"a": (3, "x", {}), "c": (3, "y", {})}, {"b": "the link is down"}).verdict == "differ"


def test_logs_are_compared_only_where_both_have_them() -> None:
    verdict = judge(4, {"a": (3, "x", {1: 1, 2: 1}), "b": (3, "x", {2: 1, 3: 1})}, {})
    assert (verdict.verdict, verdict.entries) == ("agree", 1)
