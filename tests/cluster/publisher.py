"""A client that publishes beside the test, one message after the other."""

from __future__ import annotations

import threading
import time

from tests.cluster.clients import PERSISTENT
from tests.cluster.harness import LocalCluster, wait_until

PATIENCE_SECONDS = 40.0


class Publisher(threading.Thread):
    """Publishes numbers one by one, each confirmed before the next, until told to stop."""

    def __init__(self, cluster: LocalCluster, node: int, queue: str, padding: bytes = b"") -> None:
        super().__init__(daemon=True)
        self.confirmed: list[int] = []
        self.seconds: list[float] = []
        """From each publish to its confirm."""
        self._cluster, self._node, self._queue, self._padding = cluster, node, queue, padding
        self._stopping = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            connection = self._cluster.connect(self._node)
            channel = connection.channel()
            channel.confirm_delivery()
            number = 0
            while not self._stopping.is_set():
                began = time.monotonic()
                channel.basic_publish("", self._queue, b"%d" % number + self._padding, PERSISTENT)
                self.confirmed.append(number)
                self.seconds.append(time.monotonic() - began)
                number += 1
            connection.close()
        except Exception as error:  # noqa: BLE001 - told to the test
            self.failure = error

    def stop(self) -> None:
        self._stopping.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive()
        assert self.failure is None, repr(self.failure)

    def more(self, count: int) -> None:
        """Wait until so many more are confirmed."""
        wanted = len(self.confirmed) + count
        wait_until(lambda: len(self.confirmed) >= wanted or self.failure is not None, "publishing", PATIENCE_SECONDS)
        assert self.failure is None, repr(self.failure)

    @property
    def longest_gap(self) -> float:
        """The longest wait for a confirm, in seconds."""
        return max(self.seconds)
