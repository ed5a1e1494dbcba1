"""Faults of membership: a volume that is lost or cut, a node that leaves; they come back, maybe as somebody else."""

from __future__ import annotations

import os
import shutil

from chaos.local_cluster import wait_until
from chaos.look import ask_node, remove_member
from chaos.strikes.processes import KillOne
from chaos.strikes.strike import Struck

LEAVING_SECONDS = 90.0
CUT_SHARES = (0.3, 0.7, 0.95, 0.999)


class LostVolume(KillOne):
    """A node is killed and its data is gone; it starts with an empty disk, and gets everything from the others."""

    nodes_needed = 3
    """A second disk that is damaged meanwhile would be more than is promised to be survived."""

    def begin(self) -> None:
        super().begin()
        self.wipe()

    def wipe(self) -> None:
        for entry in (self.field.grounds.nodes[self.struck.nodes[0]].directory / "data").iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


class CutFile(LostVolume):
    """A node is killed, and the end of its store is gone; it gets what it misses from the others, maybe everything."""

    def wipe(self) -> None:
        file = self.field.grounds.nodes[self.struck.nodes[0]].directory / "data" / "store" / "data.mdb"
        size = int(file.stat().st_size * self.field.random.choice(CUT_SHARES))
        os.truncate(file, size)
        self.field.note(f"{file.parent.parent.parent.name} has {size:,} bytes of its store left")


class Leave(LostVolume):
    """A node is told to leave the cluster for good; when it has, it joins again with an empty disk."""

    hold_seconds = (0.0, 2.0)

    def choose(self) -> None:
        self.struck = Struck((self.field.one(),))

    def begin(self) -> None:
        grounds, node = self.field.grounds, self.struck.nodes[0]
        name = grounds.names[node]
        wait_until(lambda: remove_member(grounds, name), f"{name} may leave", LEAVING_SECONDS)

        def has_left() -> bool:
            """Say those who stay: it does not know."""
            others = [other for other in self.field.nodes if other != node]
            told = [ask_node(grounds, other, "/api/cluster/nodes") for other in others]
            return all(rows and all(row["name"] != name for row in rows) for rows in told)

        wait_until(has_left, f"{name} has left", LEAVING_SECONDS)
        grounds.kill(node)
        self.wipe()

    def end(self) -> None:
        node = self.struck.nodes[0]
        self.field.grounds.kill(node)
        self.field.grounds.start(node)
