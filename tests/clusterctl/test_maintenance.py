"""Draining, reviving, waiting, and certificates: what is printed, and the exit codes that scripts rely on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.clusterctl import main as clusterctl
from cluster.node.admin.documents import status_document
from tests.clusterctl.fake_admin import FakeAdmin, fake_admin
from tests.node.admin.fake_source import NODES, cluster_report, node_report

STATUS, PHASE = "/api/cluster/status", "/api/maintenance"
NOWHERE = "http://127.0.0.1:1"
DAY_SECONDS = 86_400


def status_of(*names: str, **changes: Any) -> dict[str, Any]:
    return status_document(cluster_report(*[node_report(name, **changes) for name in names]))


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    answers: dict[str, tuple[int, Any]] = {
        STATUS: (200, status_of(*NODES)),
        PHASE: (200, {"node": "mq-1", "phase": "draining"}),
        f"{PHASE}/drain": (200, {"node": "mq-1", "phase": "draining"}),
        f"{PHASE}/revive": (200, {"node": "mq-1", "phase": "running"}),
        "/readyz": (200, "ready\n"),
    }
    with fake_admin(answers) as admin:
        yield admin


def run(admin: FakeAdmin, *arguments: str) -> int:
    return clusterctl.main(["--url", admin.url, *arguments])


def test_a_drain_is_asked_for_and_not_waited_for(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(admin, "drain") == 0
    assert capsys.readouterr().out == "mq-1 is draining\n"
    assert [seen[:2] for seen in admin.seen] == [("POST", f"{PHASE}/drain")]


def test_a_drain_can_be_waited_for(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[PHASE] = (200, {"node": "mq-1", "phase": "drained"})
    assert run(admin, "drain", "--wait") == 0
    assert capsys.readouterr().out == "mq-1 is drained\n"


def test_a_drain_that_takes_too_long_is_code_2(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(admin, "drain", "--wait", "--timeout", "0.3") == 2
    assert capsys.readouterr().err == "clusterctl: mq-1 is still draining after 0.3 s, and goes on\n"


def test_a_revival_says_whose(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(admin, "revive") == 0
    assert capsys.readouterr().out == "mq-1 is in service\n"


def test_waiting_for_readiness_ends_with_0_or_2(admin: FakeAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(admin, "await", "ready") == 0
    assert capsys.readouterr().out == "ready\n"
    admin.answers["/readyz"] = (503, "catching up: group 3 is 1,234 entries behind\n")
    assert run(admin, "await", "ready", "--timeout", "0.3") == 2
    line = "clusterctl: not ready after 0.3 s: catching up: group 3 is 1,234 entries behind\n"
    assert capsys.readouterr().err == line
    assert clusterctl.main(["--url", NOWHERE, "await", "ready", "--timeout", "0.3"]) == 2
    assert "connection refused" in capsys.readouterr().err


def test_waiting_for_one_more_than_a_quorum_ends_with_0_69_or_3(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(admin, "await", "quorum-plus-one", "mq-0") == 0
    assert capsys.readouterr().out == "every group keeps its quorum if mq-0 is stopped\n"
    admin.answers[STATUS] = (200, status_of("mq-0", "mq-1"))
    assert run(admin, "await", "quorum-plus-one", "mq-0", "--timeout", "0.3") == 69
    assert capsys.readouterr().err.splitlines() == [
        "clusterctl: catalog group 0 would lose quorum if mq-0 is stopped",
        "clusterctl: shard group 1 would lose quorum if mq-0 is stopped",
    ]
    assert clusterctl.main(["--url", NOWHERE, "await", "quorum-plus-one", "--timeout", "0.3"]) == 3


def test_certificates_that_expire_soon_are_code_1_and_expired_ones_2(
    admin: FakeAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(admin, "check", "certs") == 0
    assert capsys.readouterr().out == "0 certificates, none expires within 30 days\n"
    soon = time.time() + 20.02 * DAY_SECONDS
    admin.answers[STATUS] = (200, status_of("mq-0", certificate_expires_at=soon))
    assert run(admin, "check", "certs") == 1
    assert capsys.readouterr().err == "clusterctl: the certificate of mq-0 expires in 20.0 days\n"
    assert run(admin, "check", "certs", "--within", "10") == 0
    assert capsys.readouterr().out == "1 certificates, none expires within 10 days\n"
    admin.answers[STATUS] = (200, status_of("mq-0", certificate_expires_at=time.time() - 2 * DAY_SECONDS))
    assert run(admin, "check", "certs") == 2
    assert capsys.readouterr().err == "clusterctl: the certificate of mq-0 expired 2.0 days ago\n"


def test_a_file_of_authorities_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert clusterctl.main(["--url", "https://127.0.0.1:1", "--ca", "/nowhere", "status"]) == 64
    assert capsys.readouterr().err == "clusterctl: /nowhere: No such file or directory\n"
