"""Whether all replicas of a cluster hold the same, for the history."""

from __future__ import annotations

import time
from collections.abc import Iterator

from chaos.history import Compared, Record, Stuck
from chaos.local_cluster import LocalCluster
from chaos.look import verify


def compared(cluster: LocalCluster, seconds: float) -> Iterator[Record]:
    """What is to be taken down. Replicas that cannot say what they hold are asked again until the time is over, and
    count then; where there is no time they do not."""
    until = time.monotonic() + seconds
    rows = verify(cluster)
    while time.monotonic() < until and not (rows and all(row["verdict"] != "unknown" for row in rows)):
        time.sleep(0.5)
        rows = verify(cluster)
    if seconds and not rows:
        yield Stuck(t=time.monotonic(), why="no node compares the replicas")
    for row in rows:
        if row["verdict"] == "unknown" and not seconds:
            continue
        told = [f"{one['node']} {one['digest'] or one['reason']}" for one in row["replicas"]]
        conflict = f", terms differ at {row['conflict']}" if row["conflict"] else ""
        why = "" if row["verdict"] == "agree" else f"at {row['index']}: {'; '.join(told)}{conflict}"
        yield Compared(
            t=time.monotonic(),
            group=row["id"],
            verdict=row["verdict"],
            replicas=len([one for one in row["replicas"] if one["digest"]]),
            why=why,
        )
