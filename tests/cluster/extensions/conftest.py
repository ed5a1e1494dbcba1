"""One cluster for all extensions; nodes of it are killed and started again one after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.extensions.play import Field
from tests.cluster.harness import LocalCluster


@pytest.fixture(scope="session")
def field() -> Iterator[Field]:
    with LocalCluster() as running:
        yield Field(running)
