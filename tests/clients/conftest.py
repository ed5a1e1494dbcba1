"""One real cluster for all clients, whole again when each test begins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from zlib import crc32

import pytest

from chaos.look import is_healthy
from tests.cluster.harness import HOST, LocalCluster, wait_until

Urls = tuple[str, str, str]
"""Of the three nodes, each test beginning with another one."""


@pytest.fixture(scope="session")
def running() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: LocalCluster) -> LocalCluster:
    """All nodes up, whatever the test before has done."""
    running.start_all()
    wait_until(lambda: is_healthy(running), "the cluster healthy")
    return running


@pytest.fixture(scope="session")
def turn() -> Iterator[int]:
    return count()


@pytest.fixture
def urls(cluster: LocalCluster, turn: Iterator[int]) -> Urls:
    first = next(turn)
    a, b, c = [url_of(cluster, (first + n) % 3) for n in range(3)]
    return a, b, c


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that is the test's own."""
    return f"c{crc32(request.node.nodeid.encode()):08x}"


def url_of(cluster: LocalCluster, node: int) -> str:
    """Without a path: an empty one names another virtual host for some libraries, and "/" for others."""
    return f"amqp://guest:guest@{HOST}:{cluster.port(node)}"
