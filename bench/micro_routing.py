"""What routing and the catalog cost, in microseconds, with 100,000 queues and as many bindings.

Law: in-process and single-threaded; CPU time, best of three where it repeats; prints one line for each thing measured.
Run: python -m bench.micro_routing [--queues 100000]
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Callable, Sequence

from cluster.amqp.field_table import FieldValue
from cluster.broker.catalog.arguments import arguments_of
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.commands import (
    BindQueue,
    Command,
    DeclareExchange,
    DeclareQueue,
    FoundCluster,
    UnbindQueue,
)

NODES = (1, 2, 3)


def founded() -> Catalog:
    """A cluster of three nodes and eight shards."""
    catalog = Catalog()
    members = tuple((node, f"mq-{node}", "127.0.0.1", 25670 + node) for node in NODES)
    placement = tuple((group, NODES) for group in range(1, 9))
    catalog.apply(1, encode_command(FoundCluster("bench", "bench", members, placement, "guest", "")))
    return catalog


def apply_all(what: str, catalog: Catalog, commands: Sequence[Command]) -> None:
    encoded = [encode_command(command, b"12345678") for command in commands]
    first = catalog.applied_index + 1
    begin = time.process_time()
    for index, command in enumerate(encoded, first):
        catalog.apply(index, command)
    seconds = time.process_time() - begin
    print(f"{what:<44}{seconds / len(encoded) * 1e6:8.2f} us each ({len(encoded)})", flush=True)


def repeat(what: str, call: Callable[[int], object], rounds: int) -> None:
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        for number in range(rounds):
            call(number)
        best = min(best, time.process_time() - begin)
    print(f"{what:<44}{best / rounds * 1e6:8.2f} us each", flush=True)


def rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, default=100_000)
    count: int = parser.parse_args().queues
    catalog = founded()
    before = rss_mib()
    quorum = arguments_of({"x-queue-type": "quorum"}).table
    for name, kind in (("d", "direct"), ("t", "topic"), ("h", "headers"), ("f", "fanout")):
        apply_all(f"declare exchange ({kind})", catalog, [DeclareExchange("/", name, kind, True, False, False)])
    apply_all(
        "declare queue",
        catalog,
        [DeclareQueue("/", f"queue-{n}", True, False, False, quorum) for n in range(count)],
    )
    apply_all("declare queue again", catalog, [DeclareQueue("/", "queue-7", True, False, False, quorum)] * 10_000)
    apply_all("bind to direct", catalog, [BindQueue("/", "d", f"queue-{n}", f"key-{n}") for n in range(count)])
    print(f"{'memory for queues and direct bindings':<44}{rss_mib() - before:8.1f} MiB (with the commands)")

    gc.collect()
    begin = time.process_time()
    snapshot = catalog.snapshot()
    written = time.process_time()
    Catalog().restore(snapshot)
    read = time.process_time()
    print(f"{'snapshot':<44}{(written - begin) * 1e3:8.1f} ms, {len(snapshot) / 1e6:.1f} MB")
    print(f"{'restore':<44}{(read - written) * 1e3:8.1f} ms")

    fanned = min(count, 10_000)
    apply_all(
        "bind to topic",
        catalog,
        [BindQueue("/", "t", f"queue-{n}", f"eu.{n % 100}.*.{n}.#") for n in range(fanned)],
    )
    apply_all("bind to fanout", catalog, [BindQueue("/", "f", f"queue-{n}", "") for n in range(fanned)])
    wanted = [arguments_of({"x-match": "all", "a": n, "b": "x"}).table for n in range(100)]
    apply_all("bind to headers", catalog, [BindQueue("/", "h", f"queue-{n}", "", wanted[n]) for n in range(100)])

    repeat("route: default exchange", lambda n: catalog.route("/", "", f"queue-{n}"), 50_000)
    repeat("route: direct", lambda n: catalog.route("/", "d", f"key-{n}"), 50_000)
    repeat("route: topic, five words", lambda n: catalog.route("/", "t", f"eu.{n % 100}.x.{n}.y"), fanned)
    repeat(f"route: fanout to {fanned}", lambda _n: catalog.route("/", "f", ""), 5)
    headers: dict[str, FieldValue] = {"a": 5, "b": "x", "c": "y"}
    repeat("route: headers, 100 bindings", lambda _n: catalog.route("/", "h", "", lambda: headers), 1_000)
    repeat("check publish", lambda _n: catalog.checks.publish("guest", "/", "d", "k"), 20_000)
    again = DeclareQueue("/", "queue-7", True, False, False, quorum)
    repeat("check declare of what exists", lambda _n: catalog.checks.declare_queue("guest", again), 20_000)
    apply_all("unbind from fanout", catalog, [UnbindQueue("/", "f", f"queue-{n}", "") for n in range(fanned)])


if __name__ == "__main__":
    main()
