"""PHP: php-amqplib, as Debian packages it."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Urls
from tests.clients.foreign import PROGRAMS, Stage, need, need_library
from tests.clients.survival import survive
from tests.cluster.harness import LocalCluster

SCENES = PROGRAMS / "php_scenes.php"


@pytest.fixture(scope="module")
def php() -> str:
    """Its path; skips without it or without php-amqplib."""
    path = need("php", "php-cli")
    need_library([path, "-r", "require 'PhpAmqpLib/autoload.php';"], "php-amqplib", "php-amqplib")
    return path


@pytest.fixture
def stage(php: str, urls: Urls, name: str) -> Stage:
    return Stage([php, str(SCENES)], urls, name)


def test_it_publishes_with_confirms_and_consumes_on_another_node_with_prefetch_and_manual_acks(stage: Stage) -> None:
    stage.play("publish_and_consume")


def test_messages_of_every_size_come_through_whole(stage: Stage) -> None:
    stage.play("large_and_empty_messages")


def test_it_gets_nacks_rejects_and_recovers_and_redelivered_messages_say_so(stage: Stage) -> None:
    stage.play("get_nack_and_reject")


def test_its_exclusive_and_auto_delete_queues_and_exchanges_go_on_every_node(stage: Stage) -> None:
    stage.play("temporary_queues")


def test_it_binds_exchanges_to_exchanges(stage: Stage) -> None:
    stage.play("exchange_to_exchange")


def test_it_shows_returns_refusals_and_cancelled_consumers(stage: Stage) -> None:
    stage.play("returns_and_refusals")


def test_it_shows_why_a_connection_is_refused_or_closed(stage: Stage) -> None:
    stage.play("refused_connections")


def test_its_transactions_commit_and_roll_back(stage: Stage) -> None:
    stage.play("transactions")


def test_it_calls_procedures_by_direct_reply_to(stage: Stage) -> None:
    stage.play("calls_procedures")


def test_a_program_that_connects_again_survives_the_kill_of_its_node(
    cluster: LocalCluster, php: str, name: str
) -> None:
    survive(cluster, name, [php, str(SCENES)])
