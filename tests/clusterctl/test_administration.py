"""What clusterctl asks of a node to change it, and what it says of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.clusterctl import main as clusterctl
from cluster.clusterctl.explain import explain_view, reasons
from cluster.node.admin.documents import status_document
from tests.clusterctl.fake_admin import FakeAdmin, fake_admin
from tests.node.admin.fake_source import NODES, cluster_report, group_report, node_report

USER = {"name": "ops", "password_hash": "h", "hashing_algorithm": "argon2id", "tags": ["management"], "limits": {}}
QUEUE: dict[str, Any] = {
    "name": "orders",
    "vhost": "/",
    "type": "quorum",
    "durable": True,
    "leader": "mq-0",
    "members": list(NODES),
    "group": 1,
    "messages_ready": 0,
    "messages_unacked": 0,
    "consumers": 0,
    "arguments": {"x-max-length": 5},
    "policy": "cap",
    "operator_policy": None,
    "consumer_details": [],
}
CONSUMER = {
    "consumer_tag": "c1",
    "connection": "10.0.0.5:40312 -> 10.0.0.7:5672",
    "channel": 1,
    "node": "mq-0",
    "user": "guest",
    "ack_required": True,
    "exclusive": False,
    "prefetch_count": 10,
}


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    with fake_admin({}) as admin:
        yield admin


def run(admin: FakeAdmin, *arguments: str) -> int:
    return clusterctl.main(["--url", admin.url, *arguments])


@pytest.mark.parametrize(
    ("arguments", "method", "path", "document"),
    [
        ("users tags ops administrator,monitoring", "PUT", "/api/users/ops",
         {"password_hash": "h", "hashing_algorithm": "argon2id", "tags": ["administrator", "monitoring"]}),
        ("users password ops new", "PUT", "/api/users/ops", {"password": "new", "tags": ["management"]}),
        ("users delete ops", "DELETE", "/api/users/ops", None),
        ("vhosts add a/b --description d --default-queue-type quorum", "PUT", "/api/vhosts/a%2Fb",
         {"description": "d", "default_queue_type": "quorum"}),
        ("vhosts delete a/b", "DELETE", "/api/vhosts/a%2Fb", None),
        ("permissions set ops .* w r", "PUT", "/api/permissions/%2F/ops",
         {"configure": ".*", "write": "w", "read": "r"}),
        ("permissions clear ops --vhost v", "DELETE", "/api/permissions/v/ops", None),
        ("topic-permissions set ops ev w r -p v", "PUT", "/api/topic-permissions/v/ops",
         {"exchange": "ev", "write": "w", "read": "r"}),
        ("topic-permissions clear ops --exchange ev", "DELETE", "/api/topic-permissions/%2F/ops/ev", None),
        ("policies set p ^q {\"expires\":5} --priority 3 --apply-to queues", "PUT", "/api/policies/%2F/p",
         {"pattern": "^q", "definition": {"expires": 5}, "priority": 3, "apply-to": "queues"}),
        ("policies delete p --operator", "DELETE", "/api/operator-policies/%2F/p", None),
        ("limits set user ops max-channels 4", "PUT", "/api/user-limits/ops/max-channels", {"value": 4}),
        ("limits clear vhost / max-queues", "DELETE", "/api/vhost-limits/%2F/max-queues", None),
        ("queues delete orders --if-empty --if-unused", "DELETE",
         "/api/queues/%2F/orders?if-empty=true&if-unused=true", None),
        ("queues purge orders --vhost v", "DELETE", "/api/queues/v/orders/contents", None),
        ("connections close c1 --reason moved", "DELETE", "/api/connections/c1", None),
    ],
)  # fmt: skip
def test_a_command_is_one_change_of_the_node(
    admin: FakeAdmin, arguments: str, method: str, path: str, document: object, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["/api/users/ops"] = (200, USER)
    admin.answers.setdefault(path.partition("?")[0], (204, ""))
    assert run(admin, *arguments.split(" ")) == 0
    seen_method, seen_path, _, body = admin.seen[-1]
    assert (seen_method, seen_path) == (method, path)
    assert (json.loads(body) if body else None) == document
    assert capsys.readouterr().out.count("\n") == 1


def test_a_new_user_comes_with_a_password_from_stdin_and_never_replaces_one(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["/api/users"] = (200, [USER])
    admin.answers["/api/users/new"] = (201, "")
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
    assert run(admin, "users", "add", "new", "--tags", "monitoring", "--json") == 0
    assert json.loads(admin.seen[-1][3]) == {"password": "s3cret", "tags": ["monitoring"]}
    assert json.loads(capsys.readouterr().out) == {"done": "added user new"}
    assert run(admin, "users", "add", "ops", "pw") == 64
    assert capsys.readouterr().err.startswith("clusterctl: there is a user ops already")


def test_lists_are_tables_or_json(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["/api/users"] = (200, [USER])
    admin.answers["/api/vhost-limits"] = (200, [{"vhost": "/", "value": {"max-queues": 5}}])
    admin.answers["/api/user-limits"] = (200, [])
    assert run(admin, "users", "list") == run(admin, "limits", "list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "NAME  TAGS        HASH      LIMITS",
        "ops   management  argon2id  {}",
        "OF     NAME  LIMIT       VALUE",
        "vhost  /     max-queues  5",
    ]
    assert run(admin, "users", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [USER]


def test_a_definition_that_is_no_json_is_wrong_usage(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(admin, "policies", "set", "p", ".*", "{max") == 64
    assert capsys.readouterr().err.startswith("clusterctl: the definition is not JSON: ")
    assert admin.seen == []


def test_definitions_go_to_a_file_and_from_it_with_each_warning_on_stderr(
    admin: FakeAdmin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "d.json"
    document = {"queues": [], "users": []}
    admin.answers["/api/definitions"] = (200, document)
    assert run(admin, "definitions", "export", str(file)) == 0
    assert json.loads(file.read_text()) == document
    summary = {"created": 1, "changed": 0, "unchanged": 2, "warnings": ["section 'x' is skipped: unknown"]}
    admin.answers["/api/definitions"] = (200, summary)
    capsys.readouterr()
    assert run(admin, "definitions", "import", str(file)) == 0
    assert capsys.readouterr() == (
        "1 created, 0 changed, 2 unchanged\n",
        "clusterctl: warning: section 'x' is skipped: unknown\n",
    )
    assert json.loads(admin.seen[-1][3]) == document
    assert run(admin, "definitions", "import", str(tmp_path / "none")) == 64


def test_a_diff_is_1_when_something_would_change_and_a_dry_run_is_0(
    admin: FakeAdmin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "d.json"
    file.write_text("{}")
    changes = [
        {"action": "create", "section": "queues", "object": "queue 'q' in vhost '/'"},
        {"action": "change", "section": "users", "object": "user 'u'"},
    ]
    admin.answers["/api/definitions"] = (200, {"changes": changes, "unchanged": 4, "warnings": []})
    assert run(admin, "definitions", "diff", str(file)) == 1
    assert run(admin, "definitions", "import", str(file), "--dry-run") == 0
    assert [seen[1] for seen in admin.seen] == ["/api/definitions?dry_run=true"] * 2
    lines = ["+ queue 'q' in vhost '/'", "~ user 'u'", "2 to change, 4 unchanged"]
    assert capsys.readouterr().out.splitlines() == lines * 2
    admin.answers["/api/definitions"] = (200, {"changes": [], "unchanged": 6, "warnings": []})
    assert run(admin, "definitions", "diff", str(file)) == 0


def test_a_refusal_is_one_line_with_the_code_of_its_kind(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["/api/queues/%2F/q"] = (404, {"detail": "no queue 'q' in vhost '/'"})
    assert run(admin, "queues", "delete", "q") == 64
    admin.answers["/api/queues/%2F/q"] = (503, {"detail": "queue 'q' has no leader with a quorum"})
    assert run(admin, "queues", "delete", "q") == 2
    assert capsys.readouterr().err.splitlines() == [
        "clusterctl: no queue 'q' in vhost '/'",
        "clusterctl: queue 'q' has no leader with a quorum",
    ]


def test_only_queues_with_a_problem_can_be_listed(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    stuck = QUEUE | {"name": "stuck", "messages_ready": 5}
    leaderless = QUEUE | {"name": "lost", "leader": ""}
    admin.answers["/api/queues"] = (200, [QUEUE, stuck, leaderless])
    assert run(admin, "queues", "--problem", "--json") == 0
    assert [queue["name"] for queue in json.loads(capsys.readouterr().out)] == ["stuck", "lost"]


def test_explain_shows_a_queue_that_flows_with_code_0(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["/api/queues/%2F/orders"] = (200, QUEUE | {"consumers": 1, "consumer_details": [CONSUMER]})
    admin.answers["/api/cluster/status"] = (200, status_document(cluster_report(*map(node_report, NODES))))
    assert run(admin, "explain", "queue", "orders") == 0
    assert capsys.readouterr().out.splitlines() == [
        "queue orders in vhost /: replicated, quorum (durable)",
        "messages   0 ready, 0 unacked",
        "leader     mq-0   members mq-0, mq-1, mq-2   group 1",
        "arguments  x-max-length=5",
        "policy     cap   operator policy none",
        "consumers  1",
        "  TAG  NODE  USER   PREFETCH  ACK     CONNECTION",
        "  c1   mq-0  guest        10  manual  10.0.0.5:40312 -> 10.0.0.7:5672",
        "nothing is wrong with it",
    ]
    admin.answers["/api/queues/%2F/orders"] = (200, QUEUE | {"messages_ready": 4310})
    assert run(admin, "explain", "queue", "orders") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "  ! 4,310 ready messages and no consumer"


def test_explain_finds_what_keeps_messages_from_flowing() -> None:
    healthy = status_document(cluster_report(*map(node_report, NODES)))
    waiting = QUEUE | {
        "messages_ready": 7,
        "messages_unacked": 10,
        "consumers": 1,
        "consumer_details": [CONSUMER],
    }
    assert reasons(QUEUE, healthy) == []
    assert reasons(waiting, healthy) == [
        "7 messages wait because every consumer holds as many as its prefetch count allows (10 unacked): "
        "the consumers are slow, or do not ack"
    ]
    groups = tuple(group_report(group, "mq-1", role="candidate", leader="") for group in (0, 1))
    lost = status_document(cluster_report(node_report("mq-1", groups=groups, alarms=("memory",))))
    assert reasons(QUEUE | {"leader": ""}, lost) == [
        "group 1 has lost its quorum: nothing goes in or out until a member returns",
        "mq-0, mq-2 of its members are down",
        "memory alarm on mq-1: publishers are blocked, consumers go on",
    ]
    unknown = explain_view(QUEUE | {"leader": ""}, [])
    assert unknown[1] == "messages   not counted: only a leader can"
    assert "consumers  -" in unknown
    transient = QUEUE | {"leader": "mq-0", "members": [], "group": None, "durable": False, "policy": None}
    assert explain_view(transient, [])[0] == "queue orders in vhost /: in the memory of its node alone, quorum"
