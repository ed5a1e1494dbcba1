"""`clusterd`: a node, with `dev` a whole cluster on this machine, with `recover` what is left of one.

Law: a mistake in the configuration, a port in use or a data directory that cannot be used is one line on
stderr and an exit code, never a traceback; a traceback means a fault of ours. Exit codes: 0 stopped as asked,
1 could not start or go on, 2 wrong configuration or usage.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the `clusterd` command. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["dev"]:
        # The supervisor of a local cluster stays light: nothing of a node is imported into it.
        from cluster.node.dev.command import run_dev

        return run_dev(arguments[1:])
    if arguments[:1] == ["recover"]:
        from cluster.node.recovery.command import run_recover

        return run_recover(arguments[1:])
    return _run_node(arguments)


def _run_node(arguments: Sequence[str]) -> int:
    from cluster.node.config import ConfigError, load

    try:
        config = load(arguments, os.environ)
    except ConfigError as error:
        for problem in error.problems:
            print(f"clusterd: {problem}", file=sys.stderr)
        return EXIT_USAGE

    from cluster.node.logging import configure_logging

    configure_logging(level=config.log.level, shape=config.log.format, node=config.node.name)

    import trio

    from cluster.node.node import run_node

    started = False

    async def serve() -> None:
        nonlocal started
        async with trio.open_nursery() as nursery:
            await nursery.start(run_node, config)
            started = True

    try:
        trio.run(serve)
    except (Exception, BaseExceptionGroup) as error:
        lines = _world(error, data_dir=config.data_dir, started=started)
        if lines is None:
            raise
        for line in lines:
            print(f"clusterd: {config.node.name}: {line}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _world(error: BaseException, *, data_dir: Path, started: bool) -> list[str] | None:
    """One line for each thing the machine refused; None if anything else is among the causes.

    An OSError is the machine's while the node starts (a port, a directory); later it is a fault of ours.
    """
    from cluster.raft.storage import StorageError

    if isinstance(error, BaseExceptionGroup):
        parts = [_world(part, data_dir=data_dir, started=started) for part in error.exceptions]
        return None if None in parts else [line for part in parts for line in part or ()]
    if isinstance(error, StorageError):
        return [str(error)]
    if isinstance(error, OSError) and not started:
        reason = error.strerror or str(error)
        place = error.filename or (data_dir if error.errno == errno.ENOSPC else "")
        return [f"{place}: {reason}" if place else reason]
    return None


if __name__ == "__main__":
    sys.exit(main())
