"""The definitions that a node loads when it starts.

Law: a node with definitions serves nobody before they hold. It waits for a quorum as long as it takes; what the
document has wrong ends the start with one line. Loaded at every start, by every node that is told to: what is there
already costs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.node.admin.definitions.document import DefinitionsError
from cluster.node.admin.source import Operations, Refused
from cluster.node.logging import get_logger

_RETRY_SECONDS = 1.0


async def load_at_start(path: str, document: Any, catalog: Catalog, operations: Operations) -> None:
    """Raises OSError: the line for the operator."""
    log = get_logger("definitions")
    load = await trio.to_thread.run_sync(_loader)
    while True:
        try:
            imported = await load(document, catalog, operations)
        except Refused as error:
            log.warning("waiting for a quorum", file=path, reason=error.text)
            await trio.sleep(_RETRY_SECONDS)
        except DefinitionsError as error:
            raise OSError(f"{path}: {error}") from None
        else:
            break
    for line in imported.warnings:
        log.warning(line, file=path)
    log.info("loaded", file=path, created=imported.created, changed=imported.changed, unchanged=imported.unchanged)


def _loader() -> Callable[[Any, Catalog, Operations], Awaitable[Any]]:
    # Imported here, in a thread: it knows the HTTP paths, whose libraries are the node's largest import.
    from cluster.node.admin.definitions.load import load

    return load
