"""An engine, the image, and one set of pods for all tests, which leave it whole."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import docker
import docker.errors
import pytest
from testcontainers.core.config import testcontainers_config

from tests.containers.pods import Pods
from tests.deploy.manifests import BASE, container, kustomize

SECONDS_BEFORE_MAX = 660
"""How long a whole check (.ci/run, which has to end in 20 minutes) may have taken before pods are begun with."""


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    began = os.environ.get("CLUSTER_MQ_CHECK_BEGAN")
    if began and time.time() - int(began) > SECONDS_BEFORE_MAX:
        pytest.skip(f"the check has taken more than {SECONDS_BEFORE_MAX} s already: make containers runs these")
    reason = os.environ.get("CLUSTER_MQ_NO_ENGINE")
    if reason:
        pytest.skip(f"no Docker engine: {reason}")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {str(error)[:200]}")
    # The reaper is an image to be fetched; everything here is taken away by the fixture that made it.
    testcontainers_config.ryuk_disabled = True
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    name = os.environ.get("CLUSTER_MQ_TEST_IMAGE") or str(container(kustomize(BASE))["image"])
    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        pytest.skip(f"the engine has no image {name}: docker build -f deploy/docker/Dockerfile -t {name} .")
    return name


@pytest.fixture(scope="module")
def started(engine: docker.DockerClient, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    made = Pods(engine, image, kustomize(BASE), tmp_path_factory.mktemp("files"))
    try:
        made.start()
        yield made
    finally:
        made.give_up()


@pytest.fixture
def pods(started: Pods) -> Iterator[Pods]:
    """All three ready, and the cluster healthy."""
    try:
        started.wait_healthy()
        yield started
    except AssertionError:
        for pod in started.pods:
            print(f"--- {pod.name}\n{pod.log()[-3000:]}")
        raise
