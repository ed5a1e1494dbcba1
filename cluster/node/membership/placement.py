"""Where the replicas of the shards shall be, one small step after the other.

Law: pure, and the same whoever asks. A step changes one replica of a shard, and a shard that has not arrived where it
shall be is left alone, unless it waits for a node that is dead and is to hold none any more. What must leave a node
comes first, then what has too few replicas, then evenness; nothing moves that does not have to: a step for evenness
makes the fullest node lighter and the emptiest one heavier, and there is none while they differ by one. Only then the
first of each placement, who is to lead, is chosen anew, which moves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cluster.raft.types import GroupId, NodeId

REPLICAS = 3
"""Replicas of a shard, where there are so many members."""
MOVES_MAX = 2
"""Shards that move at a time: each costs a transfer of its live messages."""

Nodes = tuple[NodeId, ...]
"""The replicas of a shard, who is to lead first."""


def next_places(
    places: Mapping[GroupId, Nodes], *, usable: Sequence[NodeId], live: Collection[NodeId], moving: Collection[GroupId]
) -> dict[GroupId, Nodes]:
    """The shards that are to change their places now, each by one replica, or by the order of its replicas.

    usable  nodes that may hold replicas; others are to be left
    live    nodes that answer; no replica is brought to another one
    moving  shards that have not arrived at their place yet, or of which that is not known
    """
    planner = _Planner(places, usable, live, moving)
    planner.redirect(moving)
    for _ in range(MOVES_MAX - len(moving)):
        if not planner.move():
            break
    if not planner.changed and not moving:
        planner.even_heads()
    return planner.changed


class _Planner:
    def __init__(
        self,
        places: Mapping[GroupId, Nodes],
        usable: Sequence[NodeId],
        live: Collection[NodeId],
        moving: Collection[GroupId],
    ) -> None:
        self.changed: dict[GroupId, Nodes] = {}
        self._places = dict(sorted(places.items()))
        self._usable = sorted(usable)
        self._live = live
        self._still = [group for group in self._places if group not in moving]
        self._load = dict.fromkeys(self._usable, 0)
        for nodes in self._places.values():
            for node in nodes:
                if node in self._load:
                    self._load[node] += 1

    def redirect(self, moving: Collection[GroupId]) -> None:
        """Who shall be where a dead node was to be never arrives. It goes elsewhere, in place of that transfer."""
        for group in sorted(self._places.keys() & moving) if self._usable else ():
            self._leave([group], is_stranded=True)

    def move(self) -> bool:
        """One step of one shard. False if there is none to be made."""
        return bool(self._usable) and (self._leave(self._still) or self._grow() or self._even())

    def _replace(self, group: GroupId, old: NodeId | None, new: NodeId | None) -> bool:
        nodes = tuple([node for node in self._places[group] if node != old]) + ((new,) if new is not None else ())
        for node, by in ((old, -1), (new, 1)):
            if node in self._load:
                self._load[node] += by
        self._places[group] = self.changed[group] = nodes
        if group in self._still:
            self._still.remove(group)
        return True

    def _emptiest(self, group: GroupId) -> NodeId | None:
        """The live usable node with the fewest replicas that holds none of this shard."""
        free = [node for node in self._usable if node in self._live and node not in self._places[group]]
        return min(free, key=lambda node: (self._load[node], node), default=None)

    def _leave(self, groups: Sequence[GroupId], *, is_stranded: bool = False) -> bool:
        """Replicas leave nodes that are to hold none, dead nodes first; only these if `is_stranded`."""
        leaving = [
            (node in self._live, group, node)
            for group in groups
            for node in self._places[group]
            if node not in self._load and not (is_stranded and node in self._live)
        ]
        for _, group, node in sorted(leaving):
            new = self._emptiest(group)
            if new is not None or all(other in self._places[group] for other in self._usable):
                return self._replace(group, node, new)
        return False

    def _grow(self) -> bool:
        wanted = min(REPLICAS, len(self._usable))
        for group in self._still:
            new = self._emptiest(group)
            if len(self._places[group]) < wanted and new is not None:
                return self._replace(group, None, new)
            if len(self._places[group]) > REPLICAS:
                return self._replace(group, max(self._places[group][1:], key=lambda n: self._load.get(n, 0)), None)
        return False

    def _even(self) -> bool:
        fullest = max(self._usable, key=lambda node: (self._load[node], node))
        able = [node for node in self._usable if node in self._live]
        emptiest = min(able, key=lambda node: (self._load[node], node), default=fullest)
        if self._load[fullest] - self._load[emptiest] < 2:
            return False
        fitting = [
            group for group in self._still if fullest in self._places[group] and emptiest not in self._places[group]
        ]
        if not fitting:
            return False
        # One that is led elsewhere is interrupted less.
        group = min(fitting, key=lambda group: (self._places[group][0] == fullest, group))
        return self._replace(group, fullest, emptiest)

    def even_heads(self) -> None:
        """Nobody is to lead two shards more than somebody else, as far as the places allow."""
        while path := self._path_of_heads():
            for group, node in path:
                nodes = self._places[group]
                self._places[group] = self.changed[group] = (node, *[other for other in nodes if other != node])

    def _path_of_heads(self) -> list[tuple[GroupId, NodeId]]:
        """Shards, and who is to lead each instead, so that the busiest has one less and somebody idler one more."""
        heads = dict.fromkeys(self._usable, 0)
        for nodes in self._places.values():
            if nodes[0] in heads:
                heads[nodes[0]] += 1
        for busiest in sorted(heads, key=lambda node: (-heads[node], node)):
            came: dict[NodeId, list[tuple[GroupId, NodeId]]] = {busiest: []}
            queue = [busiest]
            for node in queue:
                if heads[busiest] - heads[node] >= 2:
                    return came[node]
                for group, nodes in self._places.items():
                    if nodes[0] == node:
                        for other in nodes[1:]:
                            if other in heads and other not in came:
                                came[other] = [*came[node], (group, other)]
                                queue.append(other)
        return []
