"""What the tests of real clusters share; the cluster itself belongs to `chaos`, whose campaigns run on it too."""

from __future__ import annotations

from chaos.local_cluster import PROGRAM, LocalCluster, free_ports, wait_until
from cluster.node.dev.layout import HOST

__all__ = ["HOST", "PROGRAM", "LocalCluster", "free_ports", "wait_until"]
