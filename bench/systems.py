"""The two systems that are measured beside each other, each a three-node cluster on loopback.

Law: both run with their defaults, with fsync, on the same disk, one after the other under load and both idle in
between. Whoever starts one stops it.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pika

from bench.table import ask
from chaos.local_cluster import LocalCluster
from cluster.node.dev.layout import HOST

LOAD = Path(__file__).parent / "load"


class System(Protocol):
    """`name` for tables; `ports` of the AMQP listeners; `pids` of the broker processes."""

    name: str

    @property
    def ports(self) -> list[int]: ...

    def pids(self) -> list[int]: ...

    def leader_port(self, queue: str) -> int:
        """Where the leader of a replicated queue serves AMQP."""

    def kill(self, port: int) -> None:
        """SIGKILL for the node that serves AMQP at `port`."""

    def revive(self, port: int) -> None:
        """Start it again, and wait until it takes part."""

    def stop(self) -> None: ...


class Ours:
    """This broker, with `nodes` nodes. `message_size_max` is in octets; None: the default."""

    def __init__(self, directory: Path, nodes: int = 3, message_size_max: int | None = None) -> None:
        self.name = "cluster-mq"
        self._cluster = LocalCluster(nodes, directory)
        if message_size_max is not None:
            make_roomy(self._cluster, message_size_max)
        self._cluster.start_all()
        time.sleep(5)  # leaders find their places

    @property
    def ports(self) -> list[int]:
        return [node.amqp_port for node in self._cluster.nodes]

    def pids(self) -> list[int]:
        return [child.pid for child in self._cluster.children if child is not None]

    def leader_port(self, queue: str) -> int:
        leader = ask(self._cluster, 0, f"/api/queues/%2F/{queue}")["leader"]
        return next(node.amqp_port for node in self._cluster.nodes if node.name == leader)

    def kill(self, port: int) -> None:
        self._cluster.kill(self.ports.index(port))

    def revive(self, port: int) -> None:
        self._cluster.start(self.ports.index(port))
        self._cluster.wait_ready()

    def stop(self) -> None:
        self._cluster.__exit__(None, None, None)


class RabbitMq:
    """RabbitMQ from Debian's package; a queue's leader is where it is declared."""

    def __init__(self, directory: Path) -> None:
        self.name = "RabbitMQ"
        self._environment = {**os.environ, "RABBIT3_DIR": str(directory)}
        self._run("start")

    @staticmethod
    def installed() -> bool:
        return Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists()

    @property
    def ports(self) -> list[int]:
        return [36671, 36672, 36673]

    def pids(self) -> list[int]:
        return [int(pid) for pid in self._run("pids").strip().split(",")]

    def leader_port(self, queue: str) -> int:
        return self.ports[0]

    def kill(self, port: int) -> None:
        os.kill(self.pids()[self.ports.index(port)], signal.SIGKILL)

    def revive(self, port: int) -> None:
        number = str(self.ports.index(port) + 1)
        self._run("start", number)
        self._run("ctl", number, "-q", "await_startup")

    def stop(self) -> None:
        self._run("wipe")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(LOAD / "rabbit3.sh"), *arguments],
            env=self._environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        )
        return done.stdout


def build_load(directory: Path) -> Path:
    """Compile the load generator. Raises FileNotFoundError without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("a C compiler is needed for the load generator (apt-get install gcc)")
    program = directory / "amqpload"
    subprocess.run([compiler, "-O2", "-o", str(program), str(LOAD / "amqpload.c")], check=True)
    return program


def make_roomy(cluster: LocalCluster, message_size_max: int) -> None:
    """Let the nodes of a cluster that has not started take messages of so many octets."""
    for node in cluster.nodes:
        text = node.config_path.read_text(encoding="utf-8")
        larger = text.replace("[amqp]\n", f"[amqp]\nmessage_size_max = {message_size_max}\n")
        node.config_path.write_text(larger, encoding="utf-8")


def take_all_files() -> None:
    """Let this process and those it starts have as many open files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def loaded_cluster() -> Iterator[tuple[Path, LocalCluster]]:
    """The load generator, and three nodes to be put under load."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        program = build_load(Path(directory))
        with LocalCluster(3, Path(directory) / "nodes") as cluster:
            time.sleep(5)  # leaders find their places
            yield program, cluster


@contextmanager
def channel_to(port: int) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    """A channel of a connection of its own to one node."""
    connection = pika.BlockingConnection(pika.ConnectionParameters(HOST, port))
    try:
        yield connection.channel()
    finally:
        connection.close()


def declare(port: int, queue: str, arguments: dict[str, str]) -> None:
    """A durable queue, declared through one node."""
    with channel_to(port) as channel:
        channel.queue_declare(queue, durable=True, arguments=arguments)
