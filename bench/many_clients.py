"""Many clients, many channels, and one message that is larger than most: what they cost.

    python -m bench.many_clients [--connections 5000] [--channels 10000]

Law: three nodes, one process that opens everything and then keeps still, so what is measured is what being there
costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.systems import make_roomy, take_all_files
from bench.table import Stopwatch, Table, anonymous_mib, ports
from bench.wire import Wire
from chaos.local_cluster import LocalCluster
from cluster.amqp import methods as m
from cluster.amqp.frames import content_frames
from cluster.amqp.properties import BasicProperties, encode_header

CHANNELS_A_CONNECTION = 2000
LARGE_BYTES = 128 << 20
_FRAME_MAX = 131072
_IDLE_SECONDS = 5.0


def channels(cluster: LocalCluster, table: Table, count: int) -> None:
    before = anonymous_mib(cluster)
    watch = Stopwatch(cluster)
    wires = [Wire(ports(cluster)[0], CHANNELS_A_CONNECTION) for _ in range(count // CHANNELS_A_CONNECTION)]
    table.row(f"{count} channels opened", count / watch.seconds, "/s")
    table.row("  memory of one", (anonymous_mib(cluster) - before) * 1024 / count, "KiB", under=4)
    _close(wires)


def connections(cluster: LocalCluster, table: Table, count: int) -> None:
    everywhere = list(ports(cluster))
    _close([Wire(port) for port in everywhere])  # the first login of a user takes memory to check the password
    before = anonymous_mib(cluster)
    watch = Stopwatch(cluster)
    wires = [Wire(everywhere[n % len(everywhere)]) for n in range(count)]
    table.row(f"{count} connections opened, one after the other", count / watch.seconds, "/s")
    of_one_node = count / len(everywhere)
    table.row("  memory of one", (anonymous_mib(cluster) - before) * 1024 / of_one_node, "KiB", under=40)
    watch = Stopwatch(cluster)
    time.sleep(_IDLE_SECONDS)
    table.row("  idle, all nodes", watch.cpu_seconds / watch.seconds, "cores", under=0.5)
    _close(wires)


def large_message(cluster: LocalCluster, table: Table) -> None:
    """To a replicated queue and back."""
    time.sleep(1)
    before = anonymous_mib(cluster)
    body = bytes(LARGE_BYTES)
    header = encode_header(len(body), BasicProperties(delivery_mode=2))
    method = m.BasicPublish("", "large", False, False).encode()
    with Wire(ports(cluster)[0]) as wire:
        wire.call(m.QueueDeclare("large", False, True, False, False, False, {"x-queue-type": "quorum"}))
        wire.call(m.ConfirmSelect(False))

        def there_and_back() -> None:
            wire.send(content_frames(1, method, header, body, _FRAME_MAX))
            wire.answers(1)
            wire.call(m.BasicGet("large", True))

        watch = Stopwatch(cluster)
        peak = _peak_mib(cluster, there_and_back)
        table.row(f"{LARGE_BYTES >> 20} MiB in one message, there and back", watch.seconds, "s", under=10)
        table.row("  memory of a node at its highest", peak - before, "MiB", under=8 * (LARGE_BYTES >> 20))
        wire.call(m.QueueDelete("large", False, False, False))
    time.sleep(3)
    table.row("  what stays of it", anonymous_mib(cluster) - before, "MiB", under=2 * (LARGE_BYTES >> 20))


def _peak_mib(cluster: LocalCluster, work: Callable[[], None]) -> float:
    """Raises what `work` raises."""
    peak = 0.0
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        while not done.done():
            peak = max(peak, anonymous_mib(cluster))
            time.sleep(0.02)
        done.result()
    return peak


def _close(wires: Sequence[Wire]) -> None:
    for wire in wires:
        wire.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--channels", type=int, default=10_000)
    options = parser.parse_args(arguments)
    take_all_files()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        cluster = LocalCluster(3, Path(directory))
        make_roomy(cluster, LARGE_BYTES)
        with cluster:
            time.sleep(5)  # leaders find their places
            table = Table("many clients")
            connections(cluster, table, options.connections)
            channels(cluster, table, options.channels)
            large_message(cluster, table)
    return int(table.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
