"""Which tests may run beside which: `make test` has two processes, one for each kind.

Law: what starts nodes, clients or servers has the machine to itself, one test after the other in one process, so that
ports, processes and deadlines are nobody else's. What only computes runs beside it in the other process, and gives way
to it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy with something else is no finding.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("busy")

_ROOT = Path(__file__).parent
_COMPUTES = frozenset({"amqp", "broker", "deploy", "raft", "simulation", "store"})
"""Directories of tests that only compute."""
_GIVES_WAY = 10
"""Niceness."""


def _computes(item: pytest.Item) -> bool:
    return item.path.relative_to(_ROOT).parts[0] in _COMPUTES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not _computes(item):
            item.add_marker(pytest.mark.xdist_group("machine"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, _GIVES_WAY if _computes(item) else 0)
