"""One real cluster for the whole contract, and clients that come to its nodes in turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from zlib import crc32

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.harness import LocalCluster
from tests.contract.admin import Admin
from tests.contract.clients import Clients
from tests.contract.wire import Wire


@pytest.fixture(scope="session")
def nodes() -> Iterator[LocalCluster]:
    with LocalCluster() as running:
        yield running


@pytest.fixture(scope="session")
def turn() -> Iterator[int]:
    """0, 1, 2, ... for the whole session."""
    return count()


@pytest.fixture
def clients(nodes: LocalCluster, turn: Iterator[int]) -> Iterator[Clients]:
    """Each client goes to the next node; all are closed with the test."""
    with Clients(nodes, turn) as open_clients:
        yield open_clients


@pytest.fixture
def admin(nodes: LocalCluster, turn: Iterator[int]) -> Admin:
    return Admin(nodes, turn)


@pytest.fixture
def connection(clients: Clients) -> pika.BlockingConnection:
    return clients.connect()


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> BlockingChannel:
    return connection.channel()


@pytest.fixture
def wire(nodes: LocalCluster, turn: Iterator[int]) -> Iterator[Wire]:
    """A raw client with channel 1 open."""
    with Wire(nodes.port(next(turn) % len(nodes.nodes))) as client:
        yield client.open(1)


@pytest.fixture
def stranger(nodes: LocalCluster, turn: Iterator[int]) -> Iterator[Wire]:
    """A raw client that has said nothing yet."""
    with Wire(nodes.port(next(turn) % len(nodes.nodes))) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that is the test's own."""
    return f"q{crc32(request.node.nodeid.encode()):08x}"
