"""Java: amqp-client, as Debian packages it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Urls
from tests.clients.foreign import BUILD_SECONDS, PROGRAMS, Stage, need, succeed
from tests.clients.survival import survive
from tests.cluster.harness import LocalCluster

SOURCE = PROGRAMS / "JavaScenes.java"
JARS = (Path("/usr/share/java/amqp-client.jar"), Path("/usr/share/java/slf4j-api.jar"))
SMALL = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m")
"""A machine that starts soon, for programs that do not run long."""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What runs `JavaScenes.java`, compiled; skips without a JDK or without amqp-client."""
    java, javac = need("java", "default-jdk-headless"), need("javac", "default-jdk-headless")
    if not all(jar.exists() for jar in JARS):
        pytest.skip("java has no amqp-client (Debian package librabbitmq-client-java)")
    classes = str(tmp_path_factory.mktemp("java"))
    path = ":".join([classes, *map(str, JARS)])
    compiling = [javac, "-encoding", "UTF-8", "-d", classes, "-cp", path, str(SOURCE)]
    succeed(compiling, seconds=BUILD_SECONDS)
    return [java, *SMALL, "-Dfile.encoding=UTF-8", "-cp", path, SOURCE.stem]


@pytest.fixture
def stage(command: list[str], urls: Urls, name: str) -> Stage:
    return Stage(command, urls, name)


def test_it_publishes_with_confirms_and_consumes_on_another_node_with_prefetch_and_manual_acks(stage: Stage) -> None:
    stage.play("publish_and_consume")


def test_messages_of_every_size_come_through_small_frames(stage: Stage) -> None:
    stage.play("frames_of_every_size")


def test_it_gets_nacks_rejects_and_recovers_and_redelivered_messages_say_so(stage: Stage) -> None:
    stage.play("get_nack_and_reject")


def test_its_exclusive_and_auto_delete_queues_and_exchanges_go_on_every_node(stage: Stage) -> None:
    stage.play("temporary_queues")


def test_it_shows_returns_nacks_refusals_and_cancelled_consumers(stage: Stage) -> None:
    stage.play("returns_and_refusals")


def test_it_tells_failed_from_possibly_failed_authentication(stage: Stage) -> None:
    stage.play("refused_connections")


def test_its_transactions_commit_and_roll_back(stage: Stage) -> None:
    stage.play("transactions")


def test_its_rpc_client_and_server_find_each_other(stage: Stage) -> None:
    stage.play("calls_procedures")


def test_its_recovery_of_connection_and_topology_survives_the_kill_of_its_node(
    cluster: LocalCluster, command: list[str], name: str
) -> None:
    survive(cluster, name, command)
