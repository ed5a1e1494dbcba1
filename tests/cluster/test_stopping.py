"""A node that is told to stop before it can serve."""

from __future__ import annotations

from tests.cluster.harness import LocalCluster, wait_until


def test_a_node_that_waits_for_a_quorum_ends_at_once_with_code_0_when_told_to_stop() -> None:
    with LocalCluster() as cluster:
        for index in range(3):
            cluster.kill(index)
        cluster.start(0)
        child = cluster.children[0]
        assert child is not None
        wait_until(lambda: child.readiness() != "not listening yet", "the admin interface")
        cluster.terminate(0)
        assert child.end() == "exit code 0"
