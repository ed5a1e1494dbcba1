"""Stands in for a node in the supervisor's tests: listens on its HTTP port and says that it is ready.

`FAKE_NODE` in the environment changes what it does: `dies` ends node-1 at once with code 3, `stubborn` ignores
SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tomllib
from pathlib import Path

config = tomllib.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
behaviour = os.environ.get("FAKE_NODE", "")
if behaviour == "dies" and config["node"]["name"] == "node-1":
    print("cannot go on", file=sys.stderr)
    sys.exit(3)
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "stubborn" else signal.SIG_DFL)

data = Path(config["node"]["data_dir"])
data.mkdir(exist_ok=True)
with (data / "starts").open("a") as starts:
    starts.write(f"{os.getpid()}\n")

listener = socket.create_server((config["http"]["host"], config["http"]["port"]))
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n")
