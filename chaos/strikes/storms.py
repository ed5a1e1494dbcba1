"""Clients as a fault: hundreds that come through a load balancer at once, and lose it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from chaos.strikes.strike import Strike, Struck
from cluster.node.dev.child import start_process

CLIENTS = 200
PORT = 5999
"""Where the proxy listens, on loopback."""
_CONFIGURATION = """global
    maxconn 4000
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
listen amqp
    bind 127.0.0.1:{port}
    balance roundrobin
{servers}
"""


class Storm(Strike):
    """Two hundred clients connect through HAProxy again and again, and all at once whenever it is killed."""

    needs = ("proxy",)
    nodes_needed = 0
    hold_seconds = (5.0, 12.0)
    KILL_EVERY_SECONDS = 3.0

    def choose(self) -> None:
        self.struck = Struck()

    def begin(self) -> None:
        self._directory = self.field.grounds.directory / "storm"
        self._directory.mkdir(exist_ok=True)
        self._counter = self._directory / "logins"
        self._counter.write_bytes(b"")
        self._started: list[subprocess.Popen[bytes]] = []
        self._proxy = self._start_proxy()
        words = ["127.0.0.1", str(PORT), str(CLIENTS), str(self._counter)]
        self._start([sys.executable, "-m", "chaos.clients.storm", *words])
        self._due = time.monotonic() + self.KILL_EVERY_SECONDS

    def _start_proxy(self) -> subprocess.Popen[bytes]:
        path = self._directory / "haproxy.cfg"
        servers = [
            f"    server {node.name} {node.host}:{node.amqp_port} check inter 500" for node in self.field.grounds.nodes
        ]
        path.write_text(_CONFIGURATION.format(port=PORT, servers="\n".join(servers)))
        return self._start(["haproxy", "-db", "-f", str(path)])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        started = start_process(command, output=Path(self._directory / "storm.log"))
        self._started.append(started)
        return started

    def step(self) -> None:
        if time.monotonic() > self._due:
            self._due = time.monotonic() + self.KILL_EVERY_SECONDS
            self._proxy.kill()
            self._proxy.wait()
            self._proxy = self._start_proxy()

    def end(self) -> None:
        for started in reversed(self._started):
            started.kill()
            started.wait()
        logins = self._counter.stat().st_size
        # Beside a fault that leaves no majority it may be that nobody gets in.
        assert logins or len(self.field.free) < len(self.field.nodes), "not one of the storm's clients could log in"
        self.field.note(f"{logins} logins through the proxy")
