"""Carrying out a definitions document: at run time, and when a node starts.

Law: what is known to be wrong is found before anything is proposed. Sections are carried out one after the other, the
objects of one at the same time, so that they share log entries. What the cluster refuses then stops the import with
an error that names the object; to import again goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import trio

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.errors import BrokerError
from cluster.node.admin.definitions.document import DefinitionsError
from cluster.node.admin.definitions.parse import Item, explanation, parse
from cluster.node.admin.definitions.plan import Action, Plan, Step, plan
from cluster.node.admin.source import Operations, Refused
from cluster.node.amqp.password_hash import hash_password, verify

COMMANDS_AT_ONCE_MAX = 256


@dataclass(frozen=True, slots=True)
class Imported:
    """How many objects were made, changed, and left as they were."""

    created: int
    changed: int
    unchanged: int
    warnings: tuple[str, ...]


async def prepare(document: object, catalog: Catalog, operations: Operations, vhost: str | None = None) -> Plan:
    """What would be done. Raises DefinitionsError."""
    definitions = await parse(document, catalog, operations.home, vhost)
    items = [await _with_hash(item, catalog) for item in definitions.items]
    planned = await plan(items, catalog)
    return replace(planned, warnings=definitions.warnings + planned.warnings)


async def carry_out(planned: Plan, operations: Operations) -> Imported:
    """Raises DefinitionsError, Refused."""
    for _, steps in groupby(planned.steps, key=lambda step: step.item.section):
        await _together(list(steps), operations)
    created = sum(step.action is Action.CREATE for step in planned.steps)
    return Imported(created, len(planned.steps) - created, planned.unchanged, planned.warnings)


async def load(document: object, catalog: Catalog, operations: Operations, vhost: str | None = None) -> Imported:
    """Raises DefinitionsError, Refused."""
    return await carry_out(await prepare(document, catalog, operations, vhost), operations)


async def _with_hash(item: Item, catalog: Catalog) -> Item:
    """A password that is the user's already keeps its hash, so that nothing changes."""
    if item.password is None or not isinstance(item.command, c.PutUser):
        return item
    password = item.password.encode()
    known = catalog.users.get(item.command.name)
    kept = known.password_hash if known is not None else ""
    if not kept or not await trio.to_thread.run_sync(verify, kept, password):
        kept = await trio.to_thread.run_sync(hash_password, password)
    return replace(item, command=replace(item.command, password_hash=kept), password=None)


async def _together(steps: Sequence[Step], operations: Operations) -> None:
    failures: list[Exception] = []
    waiting = iter(steps)

    async def work() -> None:
        for step in waiting:
            if failures:
                return
            try:
                await operations.submit(step.item.command)
            except BrokerError as error:
                failures.append(DefinitionsError(f"{step.item.label}: {explanation(error)}"))
            except Refused as error:
                failures.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(min(COMMANDS_AT_ONCE_MAX, len(steps))):
            nursery.start_soon(work)
    if failures:
        raise failures[0]
