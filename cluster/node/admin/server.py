"""The listener of the admin interface.

Law: it starts after the node's other listeners and never delays them: what it needs is imported in a thread, because
the HTTP stack (hypercorn, h2, starlette) is the node's largest import. It ends when its task is cancelled.
"""

from __future__ import annotations

import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, cast

import trio

from cluster.node.admin.source import NodeSource

if TYPE_CHECKING:
    from hypercorn.config import Config
    from hypercorn.typing import ASGIFramework

_BACKLOG = 128
_GRACE_SECONDS = 1.0


async def serve_admin(
    source: NodeSource,
    *,
    host: str,
    port: int,
    https: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `started` gives the port that is listened on (port 0 takes a free one).

    With `https` it speaks TLS and nothing else.

    Raises OSError when the address cannot be listened on.
    """
    app, config = await trio.to_thread.run_sync(_assemble, source, host, port, https)

    from hypercorn.trio import serve

    async with trio.open_nursery() as nursery:
        binds: list[str] = await nursery.start(partial(serve, app, config, mode="asgi"))
        task_status.started(int(binds[0].rpartition(":")[2]))


def _assemble(source: NodeSource, host: str, port: int, https: ssl.SSLContext | None) -> tuple[ASGIFramework, Config]:
    import hypercorn.trio  # noqa: F401 - imported here, in the thread, so that the loop turns on
    from hypercorn.config import Config

    from cluster.node.admin.app import admin_app

    # Hypercorn tells of its start and of requests on INFO; only faults are worth a line of ours.
    logger = logging.getLogger("cluster.http")
    logger.setLevel(logging.WARNING)

    class Sealed(Config):
        """Takes the context as it is, and whatever is loaded into it later."""

        @property
        def ssl_enabled(self) -> bool:
            return https is not None

        def create_ssl_context(self) -> ssl.SSLContext | None:
            return https

    config = Sealed()
    config.bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    config.backlog = _BACKLOG
    config.errorlog = logger
    config.accesslog = None
    config.include_server_header = False
    config.graceful_timeout = _GRACE_SECONDS
    return cast("ASGIFramework", admin_app(source)), config
