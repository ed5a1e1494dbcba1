"""Containers that are set up as the pods of the StatefulSet are: names, files, volumes, user, read-only root.

Law: everything comes from the manifests, and nothing is left behind. Pods are reached at their own addresses on the
network, as from other machines, so that what a pod's network loses is what its clients lose.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pika
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.deploy.manifests import (
    Manifest,
    config_map_text,
    container,
    environment,
    one,
    pod_names,
    pod_spec,
)

SECRET = {"cluster-secret": "of the test", "default-user": "admin", "default-password": "a password"}
CREDENTIALS = pika.PlainCredentials(SECRET["default-user"], SECRET["default-password"])
READY_SECONDS = 60.0
HEALTHY_SECONDS = 120.0
"""Also for a member that has to receive everything."""
AMQP, HTTP = 5672, 15672


def wait_until(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


class Pod:
    """One name and its volume; its container may be made anew."""

    def __init__(self, cluster: Pods, name: str) -> None:
        self.name = name
        self._cluster = cluster
        self._volume = self._new_volume()
        self._made: DockerContainer | None = None
        self.endpoint = ""
        """Its address while it is ready, as last seen: what a Service would send clients to."""

    @property
    def container(self) -> Any:
        """Docker's own."""
        assert self._made is not None
        return self._made.get_wrapped_container()

    def create(self) -> None:
        objects, files = self._cluster.objects, self._cluster.files
        security = pod_spec(objects)["securityContext"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container(objects)["volumeMounts"]}
        made = DockerContainer(
            self._cluster.image,
            read_only=container(objects)["securityContext"]["readOnlyRootFilesystem"],
            cap_drop=container(objects)["securityContext"]["capabilities"]["drop"],
            security_opt=["no-new-privileges"],
            user=f"{security['runAsUser']}:{security['runAsGroup']}",
            hostname=self.name,
        )
        made.with_tmpfs_mount(mounts["tmp"])
        made.with_network(self._cluster.network).with_network_aliases(self.dns)
        made.with_volume_mapping(self._volume.name, mounts["data"], "rw")
        for part in ("config", "secret"):
            made.with_volume_mapping(str(files / part), mounts[part], "ro")
        for key, value in {**environment(objects, self.name, SECRET), **self._cluster.extra}.items():
            made.with_env(key, value)
        self._made = made.start()

    def run_on_volume(self, pod: Manifest, *more: str) -> tuple[int, str]:
        """The one container of another pod, on this one's volume: its exit code, and what it said."""
        (made,) = pod["spec"]["containers"]
        command = [*made["command"], *more]
        ran = self._cluster.engine.containers.run(
            self._cluster.image,
            command[1:],
            entrypoint=command[:1],
            detach=True,
            read_only=made["securityContext"]["readOnlyRootFilesystem"],
            cap_drop=made["securityContext"]["capabilities"]["drop"],
            network_mode="none",
            volumes={self._volume.name: {"bind": made["volumeMounts"][0]["mountPath"], "mode": "rw"}},
        )
        try:
            code: int = ran.wait(timeout=READY_SECONDS)["StatusCode"]
            return code, ran.logs().decode()
        finally:
            ran.remove(force=True)

    def _new_volume(self) -> Any:
        return self._cluster.engine.volumes.create(f"{self.name}-{uuid.uuid4().hex[:8]}")

    def lose_volume(self) -> None:
        """With the container; the next one gets an empty volume."""
        self.give_up()
        self._volume = self._new_volume()

    def remove(self) -> None:
        """The container, not its volume."""
        if self._made is not None:
            self._made.stop(force=True, delete_volume=False)
            self._made = None

    def give_up(self) -> None:
        self.remove()
        self._volume.remove(force=True)

    @property
    def dns(self) -> str:
        return f"{self.name}.{one(self._cluster.objects, 'StatefulSet')['spec']['serviceName']}"

    @property
    def address(self) -> str:
        """On the pods' network; "" while it is cut off or down."""
        if self._made is None:
            return ""
        self.container.reload()
        networks = self.container.attrs["NetworkSettings"]["Networks"]
        return str(networks.get(self._cluster.network.name, {}).get("IPAddress", ""))

    @property
    def ready(self) -> bool:
        address = self.address
        self.endpoint = address if address and _answers(f"http://{address}:{HTTP}/readyz") else ""
        return bool(self.endpoint)

    def connect(self) -> pika.BlockingConnection:
        parameters = pika.ConnectionParameters(self.address, AMQP, credentials=CREDENTIALS, heartbeat=30)
        return pika.BlockingConnection(parameters)

    def clusterctl(self, *words: str) -> tuple[int, str]:
        """As by `kubectl exec`: the exit code, and what it said."""
        code, output = self.container.exec_run(["clusterctl", *words])
        return code, output.decode()

    def carry_out(self, *words: str) -> str:
        code, output = self.clusterctl(*words)
        assert code == 0, (self.name, words, output)
        return output

    def cut_off(self) -> None:
        """Out of the network, without a word to anybody."""
        self._cluster.docker_network.disconnect(self.container)

    def join_again(self) -> None:
        self._cluster.docker_network.connect(self.container, aliases=[self.dns])

    def log(self) -> str:
        return self.container.logs().decode(errors="replace")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Pods:
    """A StatefulSet's pods. `start` creates all of them at once, as `Parallel` does."""

    def __init__(self, engine: docker.DockerClient, image: str, objects: list[Manifest], files: Path) -> None:
        self.engine = engine
        self.image = image
        self.objects = objects
        self.files = files
        for name, file, text in (
            ("config", "clusterd.toml", config_map_text(objects)),
            ("secret", "cluster-secret", SECRET["cluster-secret"]),
        ):
            (files / name).mkdir(parents=True)
            (files / name / file).write_text(text)
        self.extra: dict[str, str] = {}
        """Of the environment, besides: as by `kubectl set env`, for containers that are made from now on."""
        self.network = Network()
        self.network.create()
        self.docker_network = engine.networks.get(self.network.id)
        self.pods = [Pod(self, name) for name in pod_names(objects)]

    def __getitem__(self, index: int) -> Pod:
        return self.pods[index]

    def start(self) -> None:
        for pod in self.pods:
            pod.create()
        self.wait_ready()

    def wait_ready(self, *indexes: int) -> None:
        """All of them, if none is named."""
        for pod in [self.pods[index] for index in indexes] or self.pods:
            wait_until(lambda pod=pod: pod.ready, f"{pod.name} ready")  # type: ignore[misc]

    def wait_healthy(self) -> None:
        """All ready, every group led, no alarm, and nobody else missing."""
        self.wait_ready()
        wait_until(lambda: self.pods[0].clusterctl("status")[0] == 0, "a healthy cluster", HEALTHY_SECONDS)

    def scale_up(self) -> Pod:
        """One more pod, of the next ordinal."""
        pod = Pod(self, f"{one(self.objects, 'StatefulSet')['metadata']['name']}-{len(self.pods)}")
        self.pods.append(pod)
        pod.create()
        return pod

    def leader(self, queue: str) -> Pod:
        """Of a queue in the vhost /."""
        (name,) = [row["leader"] for row in json.loads(self[0].carry_out("queues", "--json")) if row["name"] == queue]
        return next(pod for pod in self.pods if pod.name == name)

    def give_up(self) -> None:
        for pod in self.pods:
            pod.give_up()
        self.network.remove()
