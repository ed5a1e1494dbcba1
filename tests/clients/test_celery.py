"""Celery: workers on two nodes, the caller on the third."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import chord, group
from celery.exceptions import TaskRevokedError

from tests.clients.application import HOME_OF_WORKER, Application
from tests.cluster.harness import LocalCluster, wait_until

RESULT_SECONDS = 30.0
BOTH = ("w1", "w2")


@pytest.fixture(scope="module")
def applied(running: LocalCluster) -> Iterator[Application]:
    with Application(running, "celery-classic", queue_type="classic", results="rpc://") as application:
        yield application


@pytest.fixture
def application(cluster: LocalCluster, applied: Application) -> Application:
    """Both workers are there, whatever the test before has done."""
    applied.working(*BOTH)
    return applied


@pytest.fixture(scope="module")
def applied_quorum(running: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    results = f"file://{tmp_path_factory.mktemp('results')}"
    with Application(running, "celery-quorum", queue_type="quorum", results=results) as application:
        yield application


@pytest.fixture
def quorum(cluster: LocalCluster, applied_quorum: Application) -> Application:
    """One worker on a quorum queue, with results in files: rpc:// cannot join a chord."""
    applied_quorum.working("w1")
    return applied_quorum


def test_results_come_back_over_rpc(application: Application) -> None:
    assert application.tasks.add.delay(2, 3).get(timeout=RESULT_SECONDS) == 5


def test_a_group_is_shared_by_both_workers(application: Application) -> None:
    sums = group(application.tasks.add.s(n, n) for n in range(40)).apply_async()
    assert sums.get(timeout=RESULT_SECONDS) == [2 * n for n in range(40)]
    for worker in BOTH:
        assert any("Task add" in line for line in application.said(worker)), f"{worker} had nothing to do"


def test_a_task_is_retried_until_it_succeeds(application: Application) -> None:
    assert application.tasks.stubborn.delay(2).get(timeout=RESULT_SECONDS) == 2


def test_the_error_of_a_task_comes_back(application: Application) -> None:
    with pytest.raises(ValueError, match="broken on purpose"):
        application.tasks.broken.delay().get(timeout=RESULT_SECONDS)


def test_a_task_waits_for_its_countdown_and_its_eta(application: Application) -> None:
    asked = time.time()
    delayed = application.tasks.when.apply_async(countdown=1)
    timed = application.tasks.when.apply_async(eta=datetime.now(UTC) + timedelta(seconds=1))
    assert delayed.get(timeout=RESULT_SECONDS) - asked >= 1
    assert timed.get(timeout=RESULT_SECONDS) - asked >= 1


def test_the_workers_answer_remote_control_and_forget_revoked_tasks(application: Application) -> None:
    control = application.tasks.app.control
    assert {worker_of(host) for answer in control.ping(timeout=5, limit=2) for host in answer} == set(BOTH)
    revoked = application.tasks.when.apply_async(countdown=2)
    answers = control.revoke(revoked.id, reply=True, timeout=5, limit=2)
    assert {worker_of(host) for answer in answers for host in answer} == set(BOTH)
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=RESULT_SECONDS)


def test_what_a_killed_worker_had_not_acknowledged_is_done_by_the_other_one(
    application: Application, tmp_path: Path
) -> None:
    began, go_on = tmp_path / "began", tmp_path / "go-on"
    result = application.tasks.linger.delay(str(began), str(go_on))
    wait_until(began.exists, "a worker began")
    wait_until(lambda: began.read_text().endswith("\n"), "it said who it is")
    doomed = worker_of(began.read_text().strip())
    application.kill(doomed)
    wait_until(lambda: len(began.read_text().splitlines()) == 2, "the other worker began")
    go_on.touch()
    answer = result.get(timeout=RESULT_SECONDS)
    assert answer["redelivered"] is True
    assert worker_of(answer["worker"]) != doomed


def test_a_chord_on_a_quorum_queue_is_joined(quorum: Application) -> None:
    tasks = quorum.tasks
    result = chord([tasks.add.s(n, n) for n in range(10)])(tasks.total.s())
    assert result.get(timeout=RESULT_SECONDS) == 90


def test_a_countdown_on_a_quorum_queue_is_waited_for_in_the_broker(quorum: Application) -> None:
    asked = time.time()
    assert quorum.tasks.when.apply_async(countdown=2).get(timeout=RESULT_SECONDS) - asked >= 1
    assert not any("Failed to setup delayed delivery" in line for line in quorum.said("w1"))


def test_a_worker_whose_node_is_killed_goes_on_through_another_node(
    cluster: LocalCluster, application: Application
) -> None:
    application.working("w1")
    assert application.tasks.add.delay(1, 1).get(timeout=RESULT_SECONDS) == 2
    cluster.kill(HOME_OF_WORKER["w1"])
    sums = [application.tasks.add.delay(n, n) for n in range(10)]
    assert [result.get(timeout=RESULT_SECONDS) for result in sums] == [2 * n for n in range(10)]
    assert any("consumer: Connection to broker lost" in line for line in application.said("w1"))


def worker_of(hostname: str) -> str:
    """ "w1" of "w1@celery-classic"."""
    return hostname.partition("@")[0]
