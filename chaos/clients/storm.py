"""Hundreds of clients that connect at once, log in, and go without a word, again and again.

    python -m chaos.clients.storm HOST PORT CLIENTS COUNTER

Law: plain sockets and pamqp's frames, so that a client costs little here and everything there. The number of completed
logins is the size of the file COUNTER, which only grows: it can be read whenever this ends. It ends with whoever
started it.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import BinaryIO

from pamqp import commands, frame
from pamqp.header import ProtocolHeader

from chaos.clients.workload import PASSWORD, USER

PATIENCE_SECONDS = 10.0
STAY_SECONDS = 0.5
"""From a login to the end of the connection, at most."""
_WHOLE_FRAME_BYTES = 1 << 16


class Storm:
    def __init__(self, host: str, port: int, counter: BinaryIO) -> None:
        self._host = host
        self._port = port
        self._counter = counter

    async def run(self, clients: int) -> None:
        """Until killed."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._come_and_go())

    async def _come_and_go(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._visit(), PATIENCE_SECONDS)
                self._counter.write(b".")
            except (OSError, EOFError, TimeoutError, ValueError):
                await asyncio.sleep(random.uniform(0.0, 0.2))

    async def _visit(self) -> None:
        """Raises OSError, EOFError, ValueError when it is not let in."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(frame.marshal(ProtocolHeader(0, 9, 1), 0))
            await self._expect(reader, commands.Connection.Start)
            answer = f"\0{USER}\0{PASSWORD}"
            writer.write(frame.marshal(commands.Connection.StartOk({}, "PLAIN", answer, "en_US"), 0))
            await self._expect(reader, commands.Connection.Tune)
            writer.write(frame.marshal(commands.Connection.TuneOk(2047, 131072, 60), 0))
            writer.write(frame.marshal(commands.Connection.Open("/"), 0))
            await self._expect(reader, commands.Connection.OpenOk)
            await asyncio.sleep(random.uniform(0.0, STAY_SECONDS))
        finally:
            writer.transport.abort()

    async def _expect(self, reader: asyncio.StreamReader, kind: type[object]) -> None:
        head = await reader.readexactly(7)
        size = int.from_bytes(head[3:7], "big") + 1
        if size > _WHOLE_FRAME_BYTES:
            raise ValueError(f"a frame of {size} bytes")
        _, _, method = frame.unmarshal(head + await reader.readexactly(size))
        if not isinstance(method, kind):
            raise ConnectionError(f"{method} is not {kind}")


def main() -> int:
    host, port, clients, counter = sys.argv[1:]
    with Path(counter).open("ab", buffering=0) as file:
        asyncio.run(Storm(host, int(port), file).run(int(clients)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
