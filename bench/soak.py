"""A cluster at work for long: does what it holds stay bounded? `python -m bench.soak --seconds 3600`.

Law: the load is the same from begin to end: messages published and consumed, requeued, expired into dead letters,
queues and consumers that come and go, and a few messages held all the time. What is sampled is drawn as it was; the
verdict compares the end with the first tenth after the warm-up, and the drained cluster with the empty one.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import pika
from matplotlib import pyplot as plt
from pika.exceptions import AMQPError

from chaos.local_cluster import LocalCluster

SAMPLE_SECONDS = 2
BODY = bytes(2048)
HELD = 20
"""Messages that are unacked from begin to end."""
MEMORY_GROWTH_MAX = 1.3
"""Resident bytes at the end over those of the beginning."""
DISK_SLACK_BYTES = 24 << 20
"""What a store may hold without anything alive in it."""
DRAIN_SECONDS = 60.0
_AUTHORIZATION = {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="}


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one moment; bytes are the largest of any node. `latency_ms` is the median of the latest confirms."""

    seconds: float
    memory_bytes: int
    disk_bytes: int
    latency_ms: float
    confirmed: int


class Load:
    """Threads of clients, each of which does one thing again and again."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.latencies: list[float] = []
        self.confirmed = 0
        self.broken = 0
        """Connections that ended before they were closed."""
        self._cluster = cluster
        self._stopping = threading.Event()
        acts = (self._steady, self._requeue, self._expire, self._come_and_go)
        self._threads = [threading.Thread(target=self._repeat, args=(act, n % 3)) for n, act in enumerate(acts)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, act: Callable[[Any], None], node: int) -> None:
        while not self._stopping.is_set():
            try:
                connection = self._cluster.connect(node)
                channel = connection.channel()
                channel.confirm_delivery()
                while not self._stopping.is_set():
                    act(channel)
                connection.close()
            except AMQPError:
                self.broken += 1

    def _publish(self, channel: Any, queue: str) -> None:
        began = time.monotonic()
        channel.basic_publish("", queue, BODY, pika.BasicProperties(delivery_mode=2))
        self.latencies.append(time.monotonic() - began)
        self.confirmed += 1

    def _steady(self, channel: Any) -> None:
        channel.queue_declare("soak-steady", durable=True)
        for _ in range(50):
            self._publish(channel, "soak-steady")
        while (got := channel.basic_get("soak-steady"))[0] is not None:
            channel.basic_ack(got[0].delivery_tag)

    def _requeue(self, channel: Any) -> None:
        channel.queue_declare("soak-requeue", durable=True)
        if channel.queue_declare("soak-requeue", passive=True).method.message_count < 20:
            self._publish(channel, "soak-requeue")
        method, _, _ = channel.basic_get("soak-requeue")
        if method is not None:
            channel.basic_reject(method.delivery_tag, requeue=True)

    def _expire(self, channel: Any) -> None:
        arguments = {"x-message-ttl": 200, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "soak-dead"}
        channel.queue_declare("soak-dead", durable=True)
        channel.queue_declare("soak-expiring", durable=True, arguments=arguments)
        for _ in range(20):
            self._publish(channel, "soak-expiring")
        while (got := channel.basic_get("soak-dead"))[0] is not None:
            channel.basic_ack(got[0].delivery_tag)

    def _come_and_go(self, channel: Any) -> None:
        queue = channel.queue_declare("", durable=False, exclusive=True).method.queue
        tag = channel.basic_consume(queue, lambda *_: None)
        channel.basic_cancel(tag)
        channel.queue_delete(queue)
        channel.queue_declare("soak-passing", durable=True)
        self._publish(channel, "soak-passing")
        channel.queue_delete("soak-passing")


def _nodes(cluster: LocalCluster) -> list[dict[str, Any]]:
    request = urllib.request.Request(cluster.url(0) + "/api/cluster/status", headers=_AUTHORIZATION)
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["nodes"]
    return found


def _disk(cluster: LocalCluster) -> int:
    """Of the nodes that answer: a starved machine may have one that does not."""
    return max(int(node.get("disk_used_bytes", 0)) for node in _nodes(cluster))


def _anonymous_bytes(cluster: LocalCluster) -> int:
    """What the largest node really holds: RssAnon (proc(5))."""
    largest = 0
    for child in cluster.children:
        if child is not None:
            for line in Path(f"/proc/{child.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("RssAnon:"):
                    largest = max(largest, int(line.split()[1]) << 10)
    return largest


def soak(seconds: float) -> tuple[list[Sample], dict[str, Any]]:
    """The samples, and the figures of the verdict."""
    samples: list[Sample] = []
    with LocalCluster() as cluster:
        empty = _disk(cluster)
        holder = cluster.connect(0).channel()
        holder.queue_declare("soak-held", durable=True)
        for _ in range(HELD):
            holder.basic_publish("", "soak-held", BODY)
        holder.queue_declare("soak-held", passive=True)
        for _ in range(HELD):
            holder.basic_get("soak-held")
        load = Load(cluster)
        load.start()
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            holder.connection.process_data_events(SAMPLE_SECONDS)
            latest, load.latencies = sorted(load.latencies), []
            median = 1000 * latest[len(latest) // 2] if latest else 0.0
            samples.append(
                Sample(time.monotonic() - began, _anonymous_bytes(cluster), _disk(cluster), median, load.confirmed)
            )
        load.stop()
        with suppress(AMQPError):
            holder.connection.close()
        channel = cluster.connect(0).channel()
        for queue in ("soak-steady", "soak-requeue", "soak-expiring", "soak-dead", "soak-held"):
            channel.queue_delete(queue)
        drained_by = time.monotonic() + DRAIN_SECONDS
        while (drained := _disk(cluster)) > empty + DISK_SLACK_BYTES and time.monotonic() < drained_by:
            channel.connection.process_data_events(1)
        channel.connection.close()
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth] or samples, samples[-tenth:]
    return samples, {
        "seconds": seconds,
        "confirmed": samples[-1].confirmed,
        "connections_broken": load.broken,
        "memory_early_bytes": max(sample.memory_bytes for sample in early),
        "memory_late_bytes": max(sample.memory_bytes for sample in late),
        "disk_most_bytes": max(sample.disk_bytes for sample in samples),
        "disk_empty_bytes": empty,
        "disk_drained_bytes": drained,
    }


def _draw(samples: list[Sample], path: Path) -> None:
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(9, 8))
    minutes = [sample.seconds / 60 for sample in samples]
    axes[0].plot(minutes, [sample.memory_bytes / (1 << 20) for sample in samples])
    axes[0].set_ylabel("RssAnon, MiB")
    axes[1].plot(minutes, [sample.disk_bytes / (1 << 20) for sample in samples])
    axes[1].set_ylabel("store, MiB")
    axes[2].plot(minutes, [sample.latency_ms for sample in samples])
    axes[2].set_ylabel("median confirm, ms")
    axes[2].set_xlabel("minutes")
    for each in axes:
        each.set_ylim(bottom=0)
    figure.suptitle("The largest node under a steady load")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--report", type=Path, default=Path(".data/soak"))
    asked = parser.parse_args()
    samples, figures = soak(asked.seconds)
    asked.report.mkdir(parents=True, exist_ok=True)
    figures["samples"] = [asdict(sample) for sample in samples]
    (asked.report / "soak.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    _draw(samples, asked.report / "soak.png")
    grown = figures["memory_late_bytes"] / figures["memory_early_bytes"]
    left = figures["disk_drained_bytes"] - figures["disk_empty_bytes"]
    is_well = grown <= MEMORY_GROWTH_MAX and left <= DISK_SLACK_BYTES
    print(
        f"{'held' if is_well else 'NOT HELD'}: {figures['confirmed']} confirmed in {asked.seconds:g} s, "
        f"{figures['connections_broken']} connections broken; "
        f"memory x {grown:.2f}; store at most {figures['disk_most_bytes'] >> 20} MiB, drained "
        f"{left / (1 << 20):.1f} MiB more than empty; {asked.report}/soak.json, soak.png"
    )
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
