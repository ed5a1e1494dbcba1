"""clusterctl nodes: the members, and letting one go."""

from __future__ import annotations

import pytest

from cluster.clusterctl import main as clusterctl
from tests.clusterctl.fake_admin import fake_admin

ROW = {
    "id": 4,
    "name": "mq-3",
    "address": "10.0.0.4:25672",
    "membership": "active",
    "up": True,
    "state": "ready",
    "reason": "",
    "role": "follower",
    "groups": 6,
    "leads": 2,
}
TABLE = """\
ID  NODE  MEMBER  STATE  ROLE      ADDRESS         GROUPS  LEADS
4   mq-3  active  ready  follower  10.0.0.4:25672  6       2
"""


def test_every_member_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_admin({"/api/cluster/nodes": (200, [ROW])}) as admin:
        assert clusterctl.main(["--url", admin.url, "nodes"]) == 0
    assert capsys.readouterr().out == TABLE


def test_a_removal_is_asked_for_and_with_wait_seen_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"/api/cluster/nodes": (200, [ROW]), "/api/cluster/nodes/mq-9": (202, {"name": "mq-9"})}
    with fake_admin(answers) as admin:
        assert clusterctl.main(["--url", admin.url, "nodes", "remove", "mq-9"]) == 0
        assert admin.seen[0][:2] == ("DELETE", "/api/cluster/nodes/mq-9")
        assert clusterctl.main(["--url", admin.url, "nodes", "remove", "mq-9", "--wait"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mq-9 is to leave: what it holds moves first; see clusterctl nodes",
        "mq-9 has left the cluster",
    ]


def test_who_has_not_left_in_time_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"/api/cluster/nodes": (200, [ROW]), "/api/cluster/nodes/mq-3": (202, {"name": "mq-3"})}
    with fake_admin(answers) as admin:
        words = ["--url", admin.url, "nodes", "remove", "mq-3", "--wait", "--timeout", "0.1"]
        assert clusterctl.main(words) == 2
    assert capsys.readouterr().err == "clusterctl: mq-3 has not left after 0.1 s; it goes on\n"


def test_a_refusal_is_the_clusters_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    detail = "group 0 would have no quorum without mq-1: mq-2 is down. Bring it back first"
    with fake_admin({"/api/cluster/nodes/mq-1": (409, {"detail": detail})}) as admin:
        assert clusterctl.main(["--url", admin.url, "nodes", "remove", "mq-1"]) == 2
    assert capsys.readouterr().err == f"clusterctl: {detail}\n"
