"""clusterctl nodes scale: who goes, in which order, and what keeps it from beginning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.clusterctl import main as clusterctl
from cluster.clusterctl import scaling
from cluster.clusterctl.codes import UsageError
from tests.clusterctl.fake_admin import FakeAdmin, fake_admin

NODES = "/api/cluster/nodes"


def row(name: str, *, up: bool = True, membership: str = "active") -> dict[str, Any]:
    return {"name": name, "up": up, "membership": membership, "groups": 3, "leads": 1}


class Shrinking(dict[str, tuple[int, Any]]):
    """Answers in which a member has left one look after it was told to."""

    def __init__(self, names: list[str]) -> None:
        super().__init__({"/api/cluster/status": (200, {"cluster": {"answered_by": "mq-0"}})})
        self.rows = [row(name) for name in names]

    def __getitem__(self, path: str) -> tuple[int, Any]:
        if path == NODES:
            rows, self.rows = self.rows, [row for row in self.rows if row["membership"] != "draining"]
            return 200, rows
        if path.startswith(NODES):
            name = path.rpartition("/")[2]
            self.rows = [row(r["name"], membership="draining") if r["name"] == name else r for r in self.rows]
            return 202, {"name": name}
        return super().__getitem__(path)


def asked_to_go(admin: FakeAdmin) -> list[str]:
    return [path.rpartition("/")[2] for method, path, _, _ in admin.seen if method == "DELETE"]


def scale(admin: FakeAdmin, count: int, *words: str) -> int:
    return clusterctl.main(["--url", admin.url, "nodes", "scale", str(count), *words])


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(scaling, "PATIENCE_SECONDS", 0.05)


def test_the_highest_ordinals_go_first_each_when_the_one_before_has_left(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_admin(Shrinking(["mq-10", "mq-0", "mq-2", "mq-9", "mq-1"])) as admin:
        assert scale(admin, 3) == 0
        assert asked_to_go(admin) == ["mq-10", "mq-9"]
    assert capsys.readouterr().out.splitlines() == [
        "mq-10 leaves: 3 groups to hand over, of which it leads 1",
        "mq-10 has left the cluster",
        "mq-9 leaves: 3 groups to hand over, of which it leads 1",
        "mq-9 has left the cluster",
        "2 have left; 3 stay: mq-0, mq-1, mq-2",
    ]


def test_where_nobody_has_to_leave_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_admin(Shrinking(["mq-0", "mq-1"])) as admin:
        assert scale(admin, 3, "--json") == 0
        assert asked_to_go(admin) == []
    assert json.loads(capsys.readouterr().out) == {"done": "nobody has to leave: 2 members, mq-0, mq-1"}


def test_who_was_told_before_is_waited_for_and_who_is_replaced_is_not_counted() -> None:
    with fake_admin(Shrinking(["mq-0", "mq-1"])) as admin:
        admin.answers.rows += [row("mq-2", membership="draining"), row("mq-1 (lost)", membership="gone")]  # type: ignore[attr-defined]
        assert scale(admin, 2) == 0


def test_nobody_goes_while_one_that_stays_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_admin(Shrinking(["mq-0", "mq-1", "mq-2", "mq-3"])) as admin:
        admin.answers.rows[1]["up"] = False  # type: ignore[attr-defined]
        assert scale(admin, 3) == 69
        assert asked_to_go(admin) == []
    reason = "mq-1 is to stay and is down: bring that back before mq-3 goes"
    assert capsys.readouterr().err == f"clusterctl: mq-3 may not leave: {reason}\n"


def test_what_the_cluster_refuses_ends_it_with_69(capsys: pytest.CaptureFixture[str]) -> None:
    detail = "group 0 would have no quorum without mq-1: mq-2 is down. Bring it back first"
    answers = {
        "/api/cluster/status": (200, {"cluster": {"answered_by": "mq-0"}}),
        NODES: (200, [row("mq-0"), row("mq-1")]),
        f"{NODES}/mq-1": (409, {"detail": detail}),
    }
    with fake_admin(answers) as admin:
        assert scale(admin, 1) == 69
    assert capsys.readouterr().err == f"clusterctl: mq-1 may not leave: {detail}\n"


def test_what_takes_too_long_goes_on_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "/api/cluster/status": (200, {"cluster": {"answered_by": "mq-0"}}),
        NODES: (200, [row("mq-0"), row("mq-1")]),
        f"{NODES}/mq-1": (202, {}),
    }
    with fake_admin(answers) as admin:
        assert scale(admin, 1, "--timeout", "0.1") == 2
    assert capsys.readouterr().err == "clusterctl: mq-1 has not left after 0.1 s; it goes on: run this again\n"


def test_a_cluster_that_does_not_answer_is_waited_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    assert clusterctl.main(["--url", "http://127.0.0.1:1", "nodes", "scale", "3"]) == 3
    assert "http://127.0.0.1:1: connection refused" in capsys.readouterr().err


def test_a_node_that_is_to_leave_is_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with fake_admin(Shrinking(["mq-0", "mq-1"])) as admin:
        admin.answers["/api/cluster/status"] = (200, {"cluster": {"answered_by": "mq-1"}})
        assert scale(admin, 1) == 64
    assert capsys.readouterr().err == "clusterctl: mq-1 is to leave: ask a node that stays, such as mq-0\n"


@pytest.mark.parametrize(
    ("names", "count", "text"),
    [
        (["alpha", "beta"], 1, "alpha has no ordinal at its end"),
        (["a-0", "b-0"], 1, "the members are of a, b"),
        (["a-3", "a-4"], 2, "no member has an ordinal below 2"),
    ],
)
def test_names_that_no_statefulset_gives_are_not_guessed_at(names: list[str], count: int, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        scaling.split([row(name) for name in names], count)
