"""The image as Kubernetes would run it: three containers with the pods' names, volumes, files and environment.

It needs a Docker engine (DOCKER_HOST, or the usual socket) and the image, built as deploy/docker/Dockerfile says; where
there is none it is skipped, and says why. CLUSTER_MQ_TEST_IMAGE names another image than cluster-mq:<version>.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import docker.errors
import pika
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.deploy.manifests import (
    BASE,
    Manifest,
    config_map_text,
    container,
    environment,
    kustomize,
    one,
    pod_names,
    pod_spec,
)

pytestmark = pytest.mark.timeout(90)
SECRET = {"cluster-secret": "of the test", "default-user": "admin", "default-password": "a password"}
READY_SECONDS = 40.0
STOP_SECONDS = 15
AMQP, HTTP = 5672, 15672


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {READY_SECONDS:g} s: {what}")
        time.sleep(0.1)


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {str(error)[:200]}")
    # The reaper is an image to be fetched; everything here is taken away by the fixture that made it.
    testcontainers_config.ryuk_disabled = True
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    name = os.environ.get("CLUSTER_MQ_TEST_IMAGE") or str(container(kustomize(BASE))["image"])
    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        pytest.skip(f"the engine has no image {name}: docker build -f deploy/docker/Dockerfile -t {name} .")
    return name


class Pod:
    """A container that is set up as a pod of the StatefulSet is."""

    def __init__(
        self, objects: list[Manifest], name: str, image: str, network: Network, volume: str, files: Path
    ) -> None:
        service = one(objects, "StatefulSet")["spec"]["serviceName"]
        security = pod_spec(objects)["securityContext"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container(objects)["volumeMounts"]}
        made = DockerContainer(
            image,
            read_only=container(objects)["securityContext"]["readOnlyRootFilesystem"],
            cap_drop=container(objects)["securityContext"]["capabilities"]["drop"],
            security_opt=["no-new-privileges"],
            user=f"{security['runAsUser']}:{security['runAsGroup']}",
        )
        made.with_tmpfs_mount(mounts["tmp"])
        made.with_network(network).with_network_aliases(f"{name}.{service}").with_exposed_ports(AMQP, HTTP)
        made.with_volume_mapping(volume, mounts["data"], "rw")
        for part in ("config", "secret"):
            made.with_volume_mapping(str(files / part), mounts[part], "ro")
        for key, value in environment(objects, name, SECRET).items():
            made.with_env(key, value)
        self.name, self.container = name, made

    @property
    def ready(self) -> bool:
        url = f"http://{self.container.get_container_host_ip()}:{self.container.get_exposed_port(HTTP)}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def connect(self) -> pika.BlockingConnection:
        credentials = pika.PlainCredentials(SECRET["default-user"], SECRET["default-password"])
        host, port = self.container.get_container_host_ip(), int(self.container.get_exposed_port(AMQP))
        return pika.BlockingConnection(pika.ConnectionParameters(host, port, credentials=credentials))

    def log(self) -> str:
        return b"".join(self.container.get_logs()).decode(errors="replace")


@pytest.fixture(scope="module")
def pods(engine: docker.DockerClient, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pod]]:
    """All three ready; every test leaves them so, or is the last."""
    objects = kustomize(BASE)
    files = tmp_path_factory.mktemp("files")
    for name, file, text in (
        ("config", "clusterd.toml", config_map_text(objects)),
        ("secret", "cluster-secret", SECRET["cluster-secret"]),
    ):
        (files / name).mkdir(parents=True)
        (files / name / file).write_text(text)
    with ExitStack() as undo:
        network = undo.enter_context(Network())
        made = []
        for name in pod_names(objects):
            volume = engine.volumes.create(f"{name}-{uuid.uuid4().hex[:8]}")
            undo.callback(volume.remove, force=True)
            pod = Pod(objects, name, image, network, volume.name, files)
            undo.enter_context(pod.container)
            made.append(pod)
        try:
            for pod in made:
                wait_until(lambda pod=pod: pod.ready, f"{pod.name} ready")  # type: ignore[misc]
            yield made
        except AssertionError:
            for pod in made:
                print(f"--- {pod.name}\n{pod.log()[-3000:]}")
            raise


def publish(pod: Pod, bodies: list[bytes]) -> None:
    """Into the durable queue `kept`, each confirmed."""
    connection = pod.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True)
    for body in bodies:
        channel.basic_publish("", "kept", body, pika.BasicProperties(delivery_mode=2), mandatory=True)
    connection.close()


def test_a_killed_container_comes_back_with_its_volume_and_nothing_confirmed_is_lost(pods: list[Pod]) -> None:
    bodies = [f"{n}".encode() for n in range(200)]
    publish(pods[1], bodies[:100])
    victim = pods[0].container.get_wrapped_container()
    victim.kill()
    publish(pods[2], bodies[100:])
    victim.start()
    wait_until(lambda: pods[0].ready, f"{pods[0].name} ready again")
    connection = pods[0].connect()
    channel = connection.channel()
    got = []
    for method, _, body in channel.consume("kept", inactivity_timeout=10):
        assert method is not None, f"{len(got)} of {len(bodies)} arrived"
        channel.basic_ack(method.delivery_tag)
        got.append(body)
        if len(got) == len(bodies):
            break
    connection.close()
    assert sorted(got) == sorted(bodies)


def test_sigterm_to_the_first_process_drains_and_ends_with_0(pods: list[Pod]) -> None:
    code, output = pods[2].container.exec(["clusterctl", "status"])
    assert code == 0, output.decode()
    stopped = pods[0].container.get_wrapped_container()
    stopped.stop(timeout=STOP_SECONDS)
    stopped.reload()
    assert stopped.attrs["State"]["ExitCode"] == 0, pods[0].log()[-2000:]
    code, _ = pods[2].container.exec(["clusterctl", "check", "ready"])
    assert code == 0
