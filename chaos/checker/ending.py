"""How a run ends: all queues empty, the cluster the same one, its replicas equal, the disks as small as they were."""

from __future__ import annotations

from chaos.checker.finding import Finding
from chaos.checker.trail import Trail

REPLICAS = 3
GROWTH_MAX_BYTES = 16 << 20
"""What a store may hold at the end beyond what it held at the beginning: logs that are not due for compaction yet."""


def drained(trail: Trail) -> Finding:
    """At the end, when everything has been consumed, the broker counts nothing in any queue."""
    finding = Finding("drained")
    for queue, messages in trail.left.items():
        if finding.check(holds=messages == 0):
            finding.show(f"{messages} left in {queue}")
    return finding


def same_cluster(trail: Trail) -> Finding:
    """After a restart of all nodes they belong to the cluster that they belonged to before."""
    finding = Finding("same cluster")
    known = {cluster for formed in trail.formed[:1] for cluster in formed.clusters}
    for formed in trail.formed:
        if not formed.restarted:
            continue
        if finding.check(holds=len(known) == 1 and set(formed.clusters) == known):
            finding.show(f"{sorted(known)} became {formed.clusters}")
    return finding


def replicas(trail: Trail) -> Finding:
    """All three replicas of a group have the same state and the same terms at one index of its log."""
    finding = Finding("replicas")
    for one in trail.compared:
        if finding.check(holds=one.verdict == "agree" and one.replicas == REPLICAS):
            finding.show(f"group {one.group}: {one.replicas} replicas {one.verdict}: {one.why}")
    return finding


def disk(trail: Trail) -> Finding:
    """What was written and consumed is given back."""
    finding = Finding("disk")
    before, after = trail.used.get("baseline"), trail.used.get("end")
    if before is None or after is None:
        return finding
    for node, (was, used) in enumerate(zip(before.by_node, after.by_node, strict=True)):
        if finding.check(holds=used <= was + GROWTH_MAX_BYTES):
            finding.show(f"node {node}: {was:,} bytes became {used:,}")
    return finding
