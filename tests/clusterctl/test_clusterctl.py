"""clusterctl: what it prints, and the exit codes that scripts rely on.

The documents are those that a node makes of reports, so that both sides are held to the same keys.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from cluster.clusterctl import main as clusterctl
from cluster.clusterctl.api import Api, Node, Unreachable
from cluster.clusterctl.look import count, duration, share, size, table
from cluster.clusterctl.views import status_view
from cluster.node.admin.documents import status_document
from cluster.node.admin.report import ConnectionReport, NodeReport, QueueReport
from tests.clusterctl.fake_admin import FakeAdmin, fake_admin
from tests.node.admin.fake_source import NODES, cluster_report, group_report, node_report

STATUS = "/api/cluster/status"
NOWHERE = "http://127.0.0.1:1"


def status_of(*reports: NodeReport) -> dict[str, Any]:
    return status_document(cluster_report(*reports))


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    """A healthy cluster of three."""
    with fake_admin({STATUS: (200, status_of(*map(node_report, NODES)))}) as admin:
        yield admin


def run(admin: FakeAdmin, *arguments: str) -> int:
    return clusterctl.main(["--url", admin.url, *arguments])


def test_status_of_a_healthy_cluster_is_a_glance_and_code_0(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(admin, "status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "orders-mq  HEALTHY   3/3 nodes up   quorum 2 of 3, can lose 1 more   v1.2.0",
        "NODE  ROLE      STATE  LEADS  TERM  APPLIED  LAG  FSYNC p99  CONNS  MEM        DISK      UP",
        "mq-0  leader    ready    2/2     7      100    -      3.1ms     41  112M/512M  1.0G/10G  2h11m",
        "mq-1  follower  ready    0/2     7      100    0      3.1ms     41  112M/512M  1.0G/10G  2h11m",
        "mq-2  follower  ready    0/2     7      100    0      3.1ms     41  112M/512M  1.0G/10G  2h11m",
        "QUEUES 6  ready 30  unacked 3  consumers 0",
        "ALARMS none",
    ]


def test_what_a_group_without_a_leader_holds_is_said_to_be_missing_from_the_counts(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    _, document = admin.answers[STATUS]
    document["groups"][0]["leader"] = None
    run(admin, "status")
    counts = "QUEUES 6  ready 30  unacked 3  consumers 0"
    assert f"{counts}  (not counted: what is in 1 group without a leader)" in capsys.readouterr().out.splitlines()


def test_status_with_a_node_down_is_code_1_and_says_what_not_to_do(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers[STATUS] = (200, status_of(node_report("mq-0"), node_report("mq-1")))
    assert run(admin, "status") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "orders-mq  DEGRADED   2/3 nodes up   quorum 2 of 3, CANNOT lose another node   v1.2.0"
    assert lines[4].split()[:4] == ["mq-2", "down", "unreachable", "-"]
    assert lines[4].endswith("  last seen 42s ago: connection refused (10.0.1.2:25672)")
    assert lines[-3:] == [
        "PROBLEMS",
        "  ! Do not stop mq-0 or mq-1: it would cost a quorum.",
        "  ! mq-2 is unreachable: connection refused",
    ]


def test_status_without_quorum_is_code_2_and_shows_what_the_node_knows(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = tuple(group_report(group, "mq-1", role="candidate", leader="") for group in (0, 1))
    admin.answers[STATUS] = (200, status_of(node_report("mq-1", groups=groups)))
    assert run(admin, "status") == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "orders-mq  NO QUORUM   1/3 nodes up   quorum 2 of 3, LOST   v1.2.0"
    assert lines[lines.index("PROBLEMS") + 1] == (
        "  ! NO QUORUM in groups 0, 1: 1/3 (need 2). Publishing refused, no data discarded. "
        "Missing: mq-0 (connection refused), mq-2 (connection refused)"
    )


def test_status_of_a_cluster_that_is_not_founded_is_code_1(admin: FakeAdmin) -> None:
    admin.answers[STATUS] = (200, status_of(*(node_report(name, groups=()) for name in NODES)))
    assert run(admin, "status") == 1


def test_wide_status_shows_the_groups_and_where_their_replicas_stand(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers[STATUS] = (200, status_of(node_report("mq-0"), node_report("mq-1")))
    run(admin, "status", "-o", "wide")
    lines = capsys.readouterr().out.splitlines()
    assert "GROUP  KIND     LEADER  TERM  COMMIT  MEMBERS" in lines
    assert "    1  shard    mq-0       7     100  mq-0, mq-1, mq-2 (down, 1 behind)" in lines


@pytest.mark.parametrize("flags", [["--json"], ["-o", "json"]])
def test_json_status_is_the_document_itself(
    admin: FakeAdmin, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(admin, "status", *flags) == 0
    assert json.loads(capsys.readouterr().out) == admin.answers[STATUS][1]


def test_rates_come_from_two_documents_and_are_left_out_when_a_node_vanished() -> None:
    before, after = (status_of(*(node_report(name, published_total=n) for name in NODES)) for n in (1000, 1500))
    assert "in 750/s  out 0/s  acked 0/s" in "\n".join(status_view(after, before=(before, 2.0)))
    fewer = status_of(node_report("mq-0"))
    assert "in -/s" in "\n".join(status_view(fewer, before=(before, 2.0)))


def test_watching_until_healthy_goes_on_while_degraded_or_unreachable(capsys: pytest.CaptureFixture[str]) -> None:
    degraded, healthy = status_of(node_report("mq-0"), node_report("mq-1")), status_of(*map(node_report, NODES))
    answers = iter([(200, degraded), (200, healthy)])

    class Changing(dict[str, tuple[int, Any]]):
        def __getitem__(self, path: str) -> tuple[int, Any]:
            return next(answers)

    with fake_admin(Changing()) as admin:
        assert run(admin, "status", "--exit-when-healthy", "--interval", "0.1") == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("orders-mq")]
    assert [head.split()[1] for head in heads] == ["DEGRADED", "HEALTHY"]


def test_watching_goes_on_while_the_node_waits_for_its_cluster_and_ends_where_the_caller_is_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    healthy = status_of(*map(node_report, NODES))
    waiting = {"detail": "waiting for a member of the cluster"}
    answers = iter([(503, waiting), (200, healthy), (401, {"detail": "unknown user"})])

    class Changing(dict[str, tuple[int, Any]]):
        def __getitem__(self, path: str) -> tuple[int, Any]:
            return next(answers)

    with fake_admin(Changing()) as admin:
        assert run(admin, "status", "--exit-when-healthy", "--interval", "0.1") == 0
        assert run(admin, "status", "--exit-when-healthy", "--interval", "0.1") == 64
    told = capsys.readouterr().err.splitlines()
    assert told == ["clusterctl: waiting for a member of the cluster", "clusterctl: unknown user"]


def test_no_node_reachable_is_code_3_with_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert clusterctl.main(["--url", NOWHERE, "--url", "http://127.0.0.1:2", "status"]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "clusterctl: unreachable: http://127.0.0.1:1: connection refused",
        "clusterctl: unreachable: http://127.0.0.1:2: connection refused",
    ]


def test_the_next_url_is_asked_when_the_first_is_down(admin: FakeAdmin) -> None:
    assert clusterctl.main(["--url", NOWHERE, "--url", admin.url, "status"]) == 0


def test_a_node_that_accepts_and_stays_silent_does_not_hold_the_command(admin: FakeAdmin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        api = Api([Node(url), Node(admin.url)], user="guest", password="guest", timeout_seconds=1.0)
        assert api.status()["cluster"]["name"] == "orders-mq"
        alone = Api([Node(url)], user="guest", password="guest", timeout_seconds=0.2)
        started = time.monotonic()
        with pytest.raises(Unreachable, match="no answer in time"):
            alone.status()
        assert time.monotonic() - started < 20, "who stays silent does so for ever"


def test_a_change_that_may_have_arrived_is_not_sent_to_another_node(admin: FakeAdmin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        api = Api([Node(url), Node(admin.url)], user="guest", password="guest", timeout_seconds=0.2)
        with pytest.raises(Unreachable):
            api.transfer(1, "mq-1")
    assert admin.seen == []


def test_credentials_come_from_flags_or_the_environment(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTERCTL_URL", f"{NOWHERE},{admin.url}")
    monkeypatch.setenv("CLUSTERCTL_USER", "ops")
    monkeypatch.setenv("CLUSTERCTL_PASSWORD", "p:w")
    clusterctl.main(["status"])
    clusterctl.main(["status", "--user", "me"])
    users = [base64.b64decode(authorization.split()[1]).decode() for _, _, authorization, _ in admin.seen]
    assert users == ["ops:p:w", "me:p:w"]


def test_wrong_credentials_are_wrong_usage_code_64(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[STATUS] = (401, {"title": "Unauthorized", "status": 401, "detail": "unknown user"})
    assert run(admin, "status") == 64
    assert capsys.readouterr().err == "clusterctl: unknown user\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "clusterctl: the following arguments are required: COMMAND; see clusterctl --help"),
        (["leader", "transfer", "x", "y"], "clusterctl: argument GROUP: invalid int value: 'x'; see"),
        (["status", "--interval", "0"], "clusterctl: argument --interval: expected seconds within 0.1..3600, got 0"),
    ],
)
def test_wrong_usage_is_one_line_and_code_64(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        clusterctl.main(arguments)
    assert ended.value.code == 64
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


def test_an_address_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert clusterctl.main(["--url", "ftp://mq-0", "status"]) == 64
    assert capsys.readouterr().err == "clusterctl: ftp://mq-0: expected http://host:port or https://host:port\n"


def test_check_ready_tells_the_reason_with_code_2(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["/readyz"] = (200, "ready\n")
    assert run(admin, "check", "ready") == 0
    admin.answers["/readyz"] = (503, "draining\n")
    assert run(admin, "check", "ready") == 2
    assert capsys.readouterr() == ("ready\n", "clusterctl: not ready: draining\n")


def test_check_alarms_names_alarm_and_node_with_code_1(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(admin, "check", "alarms") == 0
    reports = [node_report("mq-0"), node_report("mq-1", alarms=("memory", "disk")), node_report("mq-2")]
    admin.answers[STATUS] = (200, status_of(*reports))
    assert run(admin, "check", "alarms") == 1
    assert capsys.readouterr().err == "clusterctl: memory alarm on mq-1\nclusterctl: disk alarm on mq-1\n"


def test_check_quorum_critical_is_69_with_a_line_for_each_group_on_stderr(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(admin, "check", "quorum-critical") == 0
    admin.answers[STATUS] = (200, status_of(node_report("mq-0"), node_report("mq-1")))
    assert run(admin, "check", "quorum-critical", "mq-2") == 0
    capsys.readouterr()
    assert run(admin, "check", "quorum-critical") == 69
    assert capsys.readouterr().err.splitlines() == [
        "clusterctl: catalog group 0 would lose quorum if mq-1 is stopped",
        "clusterctl: shard group 1 would lose quorum if mq-1 is stopped",
    ]
    assert run(admin, "check", "quorum-critical", "mq-9") == 64


def test_members_of_a_group_without_quorum_are_critical(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[STATUS] = (200, status_of(node_report("mq-0")))
    assert run(admin, "check", "quorum-critical", "mq-0") == 69
    assert capsys.readouterr().err.splitlines()[0] == (
        "clusterctl: catalog group 0 has no quorum, and mq-0 is one of its members"
    )


def test_queues_and_connections_are_tables_or_json(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    queues = [
        QueueReport(name="orders", vhost="/", durable=True, leader="mq-0", members=NODES, group=1, messages_ready=4310),
        QueueReport(name="amq.gen-x", vhost="/", durable=False, leader="mq-1"),
        QueueReport(name="lost", vhost="/", durable=True, leader="", members=NODES, group=2),
    ]
    connection = ConnectionReport(
        name="c1", node="mq-0", user="guest", vhost="/", state="running", channels=1, connected_at=time.time()
    )
    admin.answers["/api/queues"] = (200, [asdict(queue) for queue in queues])
    admin.answers["/api/connections"] = (200, [asdict(connection)])
    assert run(admin, "queues") == run(admin, "connections") == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "VHOST  NAME       READY  UNACKED  LEAVING  CONSUMERS  LEADER  MEMBERS",
        "/      orders     4,310        0        0          0  mq-0    mq-0, mq-1, mq-2",
        "/      amq.gen-x      0        0        0          0  mq-1    not replicated",
        "/      lost           -        -        -          -  NONE    mq-0, mq-1, mq-2",
    ]
    assert run(admin, "queues", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["group"] == 1


def test_queues_of_one_vhost_are_asked_for_and_an_unknown_one_is_called_so(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = QueueReport(name="orders", vhost="shop", durable=True, leader="mq-0")
    admin.answers["/api/queues/shop"] = (200, [asdict(queue)])
    admin.answers["/api/queues/nope"] = (404, {"status": 404, "detail": "no vhost 'nope'"})
    assert run(admin, "queues", "--vhost", "shop") == run(admin, "queues", "list", "-p", "shop") == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:2]] == [["shop", "orders"]]
    assert run(admin, "queues", "--vhost", "nope") == 64
    assert capsys.readouterr().err == "clusterctl: no vhost 'nope'\n"


@pytest.mark.parametrize(
    ("said", "vhost"),
    [
        (("queues", "retry", "q"), "%2F"),
        (("queues", "retry", "q", "-p", "shop"), "shop"),
        (("queues", "-p", "shop", "retry", "q"), "shop"),
    ],
)
def test_parked_messages_are_tried_again_in_the_vhost_that_is_named(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str], said: tuple[str, ...], vhost: str
) -> None:
    admin.answers[f"/api/queues/{vhost}/q/retry"] = (200, {"retried": 3})
    assert run(admin, *said) == 0
    assert admin.seen[-1][:2] == ("POST", f"/api/queues/{vhost}/q/retry")
    assert "3 parked messages ready again" in capsys.readouterr().out


def test_leader_transfer_posts_the_wish_and_shows_a_refusal(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["/api/groups/1/transfer"] = (202, {})
    assert run(admin, "leader", "transfer", "1", "mq-2") == 0
    assert admin.seen[-1][:2] == ("POST", "/api/groups/1/transfer")
    assert json.loads(admin.seen[-1][3]) == {"node": "mq-2"}
    admin.answers["/api/groups/1/transfer"] = (409, {"detail": "mq-2 is 3,653 entries behind"})
    assert run(admin, "leader", "transfer", "1", "mq-2") == 2
    assert capsys.readouterr().err == "clusterctl: mq-2 is 3,653 entries behind\n"


def test_an_answer_that_is_no_api_is_one_line(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[STATUS] = (200, "<html>")
    assert run(admin, "status") == 2
    assert capsys.readouterr().err == "clusterctl: the answer is not JSON: is this the admin port of a node?\n"


def test_clusterctl_imports_nothing_but_the_standard_library() -> None:
    program = (
        "import sys; old = set(sys.modules); import cluster.clusterctl.main; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - old} - set(sys.stdlib_module_names))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["cluster"]


def test_numbers_are_short_and_what_is_not_known_is_a_dash() -> None:
    assert [size(number) for number in (0, 999, 1023, 1 << 20, 112 << 20, 1288490188, None)] == [
        "0",
        "999",
        "1.0K",
        "1.0M",
        "112M",
        "1.2G",
        "-",
    ]
    assert [duration(seconds) for seconds in (0.4, 42, 90, 3600, 7860, 273_600, 86_405, None)] == [
        "0s",
        "42s",
        "1m30s",
        "1h",
        "2h11m",
        "3d4h",
        "1d",
        "-",
    ]
    assert (count(184220), count(None), share(5, 0)) == ("184,220", "-", "5")
    assert table(("A", "B"), [["x", "1"], ["yy", "22"]], right=frozenset("B")) == ["A    B", "x    1", "yy  22"]
