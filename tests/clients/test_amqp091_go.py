"""Go: amqp091-go, as Debian packages it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Urls
from tests.clients.foreign import BUILD_SECONDS, PROGRAMS, Stage, need, succeed
from tests.clients.survival import survive
from tests.cluster.harness import LocalCluster

SOURCE = PROGRAMS / "go_scenes.go"
GOPATH = Path("/usr/share/gocode")
"""Where Debian's packages put the source of libraries."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`go_scenes.go`, built; skips without go or without amqp091-go."""
    go = need("go", "golang-go")
    if not (GOPATH / "src/github.com/rabbitmq/amqp091-go").is_dir():
        pytest.skip("go has no amqp091-go (Debian package golang-github-rabbitmq-amqp091-go-dev)")
    path = str(tmp_path_factory.mktemp("go") / "scenes")
    environment = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": str(GOPATH)}
    succeed([go, "build", "-o", path, str(SOURCE)], environment=environment, seconds=BUILD_SECONDS)
    return path


@pytest.fixture
def stage(program: str, urls: Urls, name: str) -> Stage:
    return Stage([program], urls, name)


def test_it_publishes_with_confirms_and_consumes_on_another_node_with_prefetch_and_manual_acks(stage: Stage) -> None:
    stage.play("publish_and_consume")


def test_messages_of_every_size_come_through_small_frames(stage: Stage) -> None:
    stage.play("frames_of_every_size")


def test_it_gets_nacks_rejects_and_recovers_and_redelivered_messages_say_so(stage: Stage) -> None:
    stage.play("get_nack_and_reject")


def test_its_exclusive_and_auto_delete_queues_and_exchanges_go_on_every_node(stage: Stage) -> None:
    stage.play("temporary_queues")


def test_it_binds_exchanges_to_exchanges(stage: Stage) -> None:
    stage.play("exchange_to_exchange")


def test_it_shows_returns_refusals_and_cancelled_consumers(stage: Stage) -> None:
    stage.play("returns_and_refusals")


def test_it_knows_bad_credentials_and_missing_virtual_hosts(stage: Stage) -> None:
    stage.play("refused_connections")


def test_its_transactions_commit_and_roll_back(stage: Stage) -> None:
    stage.play("transactions")


def test_it_calls_procedures_by_direct_reply_to(stage: Stage) -> None:
    stage.play("calls_procedures")


def test_a_program_that_connects_again_survives_the_kill_of_its_node(
    cluster: LocalCluster, program: str, name: str
) -> None:
    survive(cluster, name, [program])
