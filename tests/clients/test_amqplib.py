"""Node.js: amqplib, installed by npm into a temporary directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Urls
from tests.clients.foreign import PROGRAMS, Stage, need, succeed
from tests.clients.survival import survive
from tests.cluster.harness import LocalCluster

PACKAGE = "amqplib@2"
INSTALL_SECONDS = 40.0
MAJOR_VERSION_MIN = 18
SCENES = PROGRAMS / "amqplib_scenes.js"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which node finds amqplib; skips where it cannot be installed."""
    version = succeed([need("node", "nodejs"), "--version"]).strip()
    if int(version.lstrip("v").split(".")[0]) < MAJOR_VERSION_MIN:
        pytest.skip(f"amqplib needs Node.js {MAJOR_VERSION_MIN}, and this is {version} (Debian package nodejs)")
    directory = tmp_path_factory.mktemp("npm")
    options = ["--prefix", str(directory), "--no-audit", "--no-fund", "--fetch-retries=0"]
    command = [need("npm", "npm"), "install", *options, PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {PACKAGE} within {INSTALL_SECONDS:g} s: is its registry reachable?")
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith(("npm ERR!", "npm error"))]
        pytest.skip(f"npm could not install {PACKAGE}: {' / '.join(errors[:3]) or done.stderr[-300:]}")
    return {"NODE_PATH": str(Path(directory) / "node_modules")}


@pytest.fixture
def stage(libraries: dict[str, str], urls: Urls, name: str) -> Stage:
    return Stage(["node", str(SCENES)], urls, name, libraries)


def test_it_publishes_with_confirms_and_consumes_on_another_node_with_prefetch_and_manual_acks(stage: Stage) -> None:
    stage.play("publishAndConsume")


def test_it_gets_nacks_rejects_and_recovers_and_redelivered_messages_say_so(stage: Stage) -> None:
    stage.play("getNackAndReject")


def test_its_exclusive_and_auto_delete_queues_and_exchanges_go_on_every_node(stage: Stage) -> None:
    stage.play("temporaryQueues")


def test_it_binds_exchanges_to_exchanges(stage: Stage) -> None:
    stage.play("exchangeToExchange")


def test_it_shows_returns_refusals_and_cancelled_consumers(stage: Stage) -> None:
    stage.play("returnsAndRefusals")


def test_it_calls_procedures_by_direct_reply_to(stage: Stage) -> None:
    stage.play("callsProcedures")


def test_its_recovery_survives_the_kill_of_its_node(
    cluster: LocalCluster, libraries: dict[str, str], name: str
) -> None:
    survive(cluster, name, ["node", str(SCENES)], libraries)
