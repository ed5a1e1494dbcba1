"""Who plays: the clients of a world, by the name of their cast.

Law: a cast is made and not started here. Those that are awaited come to an end by themselves when the world drains, and
have been answered then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from tests.simulation.actors import Architect, Consumer, Publisher
from tests.simulation.movers import Mover
from tests.simulation.patrons import Dealer, Patron, Vendor
from tests.simulation.scouts import Scout
from tests.simulation.sextons import Sexton
from tests.simulation.traits import PLANS, STRICT
from tests.simulation.transactors import Transactor

if TYPE_CHECKING:
    from tests.simulation.world import World

Cast = Literal["common", "traits", "transactions", "definitions", "full", "routes"]
"""Clients of plain queues, who move, build and reject; those of queues with traits; those who do everything in
transactions; those who declare, bind and delete; those of a queue that refuses, being full;
those who publish before and after they bind."""


class Actor(Protocol):
    @property
    def run(self) -> Callable[[], Awaitable[None]]: ...


class Awaited(Actor, Protocol):
    done: bool


class Players(NamedTuple):
    """`awaited` play, too."""

    awaited: Sequence[Awaited]
    others: Sequence[Actor]


def common(world: World) -> Players:
    places, count = world.places, world.node_count
    publishers = [Publisher(world, f"p{node}", node) for node in places]
    actors: list[Actor] = [Consumer(world, f"c{i}", places[i % count]) for i in range(2 * count)]
    actors += [Architect(world, "a1"), Architect(world, "a2")]
    actors += [Transactor(world, "t1", 1), Transactor(world, "t2", 2), Mover(world, "m1", 3), Mover(world, "m2", 1)]
    return Players(publishers, actors)


def traits(world: World) -> Players:
    vendors = [Vendor(world, f"v{node}", node, PLANS) for node in world.places]
    actors: list[Actor] = [Dealer(world, "d", 2), Architect(world, "a1")]
    for plan in PLANS:
        world.chronicle.write(plan.traits)
        first = len(vendors) + len(actors)
        for i in range(plan.consumers):
            actors.append(Patron(world, plan, f"{plan.name} {i}", world.places[(first + i) % world.node_count]))
    return Players(vendors, actors)


def transactions(world: World) -> Players:
    actors: list[Actor] = [Consumer(world, f"c{node}", node) for node in world.places]
    actors += [Transactor(world, f"t{i}", node) for node in world.places for i in (2 * node, 2 * node + 1)]
    return Players([], [*actors, *[Mover(world, f"m{node}", node) for node in world.places]])


def definitions(world: World) -> Players:
    return Players(
        [Sexton(world, f"s{node}", node) for node in world.places], [Architect(world, f"a{i}") for i in range(4)]
    )


def full(world: World) -> Players:
    """Each batch has an entry of its own: they wait for each other, those of nodes that are lost meanwhile as well."""
    world.entry_bytes = 1
    plan = replace(STRICT, requeue=0.4)
    world.chronicle.write(plan.traits)
    vendors = [Vendor(world, f"v{node}", node, (plan,)) for node in world.places]
    return Players(vendors, [Patron(world, plan, f"p{node}", node) for node in world.places])


def routes(world: World) -> Players:
    return Players([], [Scout(world, f"r{i}") for i in range(2 * world.node_count)])


CASTS: dict[Cast, Callable[[World], Players]] = {
    "common": common,
    "traits": traits,
    "transactions": transactions,
    "definitions": definitions,
    "full": full,
    "routes": routes,
}
