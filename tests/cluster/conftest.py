"""One cluster for the tests that leave it as they found it; tests that kill nodes make their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.harness import LocalCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as running:
        yield running
