"""The cluster of a run, and everything under it that can be made to fail.

Law: what a machine cannot do is known before a run begins (`missing`); what is there works. Without namespaces all
nodes are on loopback. Everything ends with `close`, and if that never comes, with this process.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from chaos.clients.workload import PASSWORD, USER
from chaos.local_cluster import PROGRAM, LocalCluster, program_of
from chaos.machine.isolation import is_isolated, missing_for_isolation
from chaos.machine.memory import MemoryGroup, missing_for_memory
from chaos.machine.network import Network, missing_for_delays
from chaos.machine.shim import Disk, build, missing_for_shim, of_store
from chaos.machine.volume import Volume, missing_for_volumes
from cluster.node.dev.child import Child
from cluster.node.dev.layout import DevNode, plan
from cluster.node.opening import is_condemned

AMQP_PORT = 5672
"""The first node's, in namespaces."""
DISK_FREE_MIN = 96 << 20
"""limits.disk_free_min on a small file system."""
BLOCKED_AT_BYTES = 384 << 20
"""limits.memory_watermark."""


def missing(other: Path | None = None) -> dict[str, str]:
    """What a fault may need -> why this machine does not have it; empty when it does. `other`: see `Grounds`."""
    isolation = missing_for_isolation()
    return {
        "network": isolation,
        "delays": isolation or missing_for_delays(),
        "shim": missing_for_shim(),
        "volumes": isolation or missing_for_volumes(),
        "memory": missing_for_memory(),
        "proxy": "" if shutil.which("haproxy") else "not installed: haproxy",
        "other": _missing_for_other(other),
    }


def _missing_for_other(other: Path | None) -> str:
    if other is None:
        return "no checkout of another version is given (--other)"
    return "" if (other / "cluster" / "node" / "main.py").exists() else f"no checkout: {other}"


class Grounds(LocalCluster):
    """A cluster whose parts are there as far as `needs` names them: network, delays, shim, volumes, memory.

    `other` is a checkout with another version of the code, which the nodes in `of_other` start with.
    """

    user, password = USER, PASSWORD

    def __init__(self, directory: Path, needs: frozenset[str], other: Path | None = None) -> None:
        self.other = other
        self.of_other: set[int] = set()
        self.network: Network | None = None
        self.disks: list[Disk] = []
        self.volumes: list[Volume] = []
        self.memory: list[MemoryGroup] = []
        self.scarred: set[int] = set()
        """Nodes whose store may still hold damage that a fault did."""
        super().__init__(directory=directory)
        if is_isolated():
            self.network = Network(self.names, directory / "hosts")
        if "volumes" in needs:
            self.volumes = [Volume(node.directory / "data", directory / f"{node.name}.img") for node in self.nodes]
        if "shim" in needs:
            library = build(directory)
            self.disks = [
                Disk(library, of_store(node.directory / "data" / "store"), node.directory / "shim")
                for node in self.nodes
            ]
        if "memory" in needs:
            self.memory = [MemoryGroup(node.name) for node in self.nodes]

    def plan(self, directory: Path, nodes: int) -> list[DevNode]:
        if not is_isolated():
            return super().plan(directory, nodes)
        planned = plan(directory, nodes=nodes, amqp_port=AMQP_PORT)
        return [replace(node, host=node.name) for node in planned]

    def start(self, index: int) -> None:
        if self.disks and not self.disks[index].has_files:
            self.disks[index].forget()
        self.children[index] = Child(self.nodes[index], self._program(index))

    def _program(self, index: int) -> list[str]:
        command = list(self.network.enter(index)) if self.network is not None else []
        command += ["env", f"CLUSTER_MQ_AUTH__DEFAULT_USER={USER}", f"CLUSTER_MQ_AUTH__DEFAULT_PASSWORD={PASSWORD}"]
        command.append(f"CLUSTER_MQ_LIMITS__MEMORY_WATERMARK={BLOCKED_AT_BYTES}")
        if self.volumes:
            command.append(f"CLUSTER_MQ_LIMITS__DISK_FREE_MIN={DISK_FREE_MIN}")
        if self.disks:
            command += self.disks[index].environment()
        return command + (program_of(self.other) if self.other and index in self.of_other else [*PROGRAM])

    @property
    def names(self) -> list[str]:
        return [node.name for node in self.nodes]

    def pid(self, index: int) -> int:
        """Of a node that runs."""
        child = self.children[index]
        assert child is not None
        return child.pid

    def is_running(self, index: int) -> bool:
        child = self.children[index]
        return child is not None and child.end() is None

    def is_ready(self) -> bool:
        """Do all nodes say so? One that has ended does not."""
        return all(child is not None and child.readiness() is None for child in self.children)

    def has_met_damage(self, index: int) -> bool:
        """Has damage that a fault left in its store ended a node? Its next start sets the store aside, so that this is
        so once."""
        if index not in self.scarred or not is_condemned(self.nodes[index].directory / "data"):
            return False
        self.scarred.discard(index)
        return True

    def close(self) -> None:
        """End the nodes, and give back what is not this process's own."""
        for index, child in enumerate(self.children):
            if child is not None:
                self.thaw(index)
            self.kill(index)
        for volume in self.volumes:
            volume.unmount()
        for group in self.memory:
            group.remove()
