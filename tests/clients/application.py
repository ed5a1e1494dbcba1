"""A Celery application on the cluster: its caller here, its workers as processes.

Law: the caller is on the first node, worker "w1" begins on the second, "w2" on the third; each may go to the others.
"""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any

import pytest

from tests.clients.conftest import url_of
from tests.clients.foreign import PROGRAMS, Telling
from tests.cluster.harness import LocalCluster

HOME_OF_WORKER = {"w1": 1, "w2": 2}
"""The node on which it begins."""


class Application:
    """Use as a context manager. `tasks` is the module of `programs/celery_app.py`."""

    def __init__(self, cluster: LocalCluster, name: str, *, queue_type: str, results: str) -> None:
        self.name = name
        self._cluster = cluster
        self._settings = {"CLIENTS_NAME": name, "CLIENTS_QUEUE_TYPE": queue_type, "CLIENTS_RESULTS": results}
        self._workers: dict[str, Telling] = {}
        self.tasks: Any = self._load()

    def __enter__(self) -> Application:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self._workers.values():
            worker.__exit__(kind, error, at)
        self.tasks.app.close()

    def _load(self) -> Any:
        specification = importlib.util.spec_from_file_location(f"celery_{self.name}", PROGRAMS / "celery_app.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        with pytest.MonkeyPatch.context() as here:
            for variable, value in self._environment(0).items():
                here.setenv(variable, value)
            specification.loader.exec_module(module)
        return module

    def _environment(self, first: int) -> dict[str, str]:
        urls = [url_of(self._cluster, (first + n) % 3) for n in range(3)]
        return {**self._settings, "CLIENTS_BROKERS": ";".join(urls)}

    def working(self, *names: str) -> None:
        """These workers run and are ready; others do not."""
        for name in set(self._workers) - set(names):
            self.kill(name)
        for name in names:
            if name not in self._workers:
                options = ["--pool", "solo", "--concurrency", "1", "--loglevel", "info"]
                options += ["--hostname", f"{name}@{self.name}"]
                command = [sys.executable, "-m", "celery", "--workdir", str(PROGRAMS), "-A", "celery_app", "worker"]
                environment = self._environment(HOME_OF_WORKER[name])
                self._workers[name] = Telling([*command, *options], environment=environment)
        for name in names:
            self._workers[name].until(
                lambda said: any(line.endswith(" ready.") for line in said), f"worker {name} is ready"
            )

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self._workers.pop(name).kill()

    def said(self, name: str) -> list[str]:
        """By a worker."""
        return self._workers[name].lines
