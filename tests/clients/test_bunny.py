"""Ruby: bunny, as Debian packages it."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Urls
from tests.clients.foreign import PROGRAMS, Stage, need, need_library
from tests.clients.survival import survive
from tests.cluster.harness import LocalCluster

SCENES = PROGRAMS / "bunny_scenes.rb"


@pytest.fixture(scope="module")
def ruby() -> str:
    """Its path; skips without it or without bunny."""
    path = need("ruby", "ruby-bunny")
    need_library([path, "-e", "require 'bunny'"], "bunny", "ruby-bunny")
    return path


@pytest.fixture
def stage(ruby: str, urls: Urls, name: str) -> Stage:
    return Stage([ruby, str(SCENES)], urls, name)


def test_it_publishes_with_confirms_and_consumes_on_another_node_with_prefetch_and_manual_acks(stage: Stage) -> None:
    stage.play("publish_and_consume")


def test_it_gets_nacks_rejects_and_recovers_and_redelivered_messages_say_so(stage: Stage) -> None:
    stage.play("get_nack_and_reject")


def test_its_exclusive_and_auto_delete_queues_and_exchanges_go_on_every_node(stage: Stage) -> None:
    stage.play("temporary_queues")


def test_it_binds_exchanges_to_exchanges(stage: Stage) -> None:
    stage.play("exchange_to_exchange")


def test_it_shows_returns_refusals_and_cancelled_consumers(stage: Stage) -> None:
    stage.play("returns_and_refusals")


def test_its_transactions_commit_and_roll_back(stage: Stage) -> None:
    stage.play("transactions")


def test_its_recovery_survives_the_kill_of_its_node(cluster: LocalCluster, ruby: str, name: str) -> None:
    survive(cluster, name, [ruby, str(SCENES)])
