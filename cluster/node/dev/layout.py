"""Where the nodes of a local cluster live: names, ports, directories and the configuration of each.

Law: everything follows from (data directory, number of nodes, first AMQP port); the secret alone is made once
and kept, so that starting again on the same directory continues the same cluster. Nodes that are new there join it;
those that are too many have to run once more, to hand over what they hold, before their directories go.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
HTTP_OFFSET = 10_000
PEER_OFFSET = 20_000
NODES_MAX = 64
DRAIN_TIMEOUT_SECONDS = 10.0


class DevError(Exception):
    """The local cluster cannot run; the text is one line."""


@dataclass(frozen=True, slots=True)
class DevNode:
    """One node of a local cluster. `directory` is absolute; `host` is where it listens and where it is reached."""

    name: str
    directory: Path
    amqp_port: int
    http_port: int
    peer_port: int
    host: str = HOST

    @property
    def config_path(self) -> Path:
        return self.directory / "clusterd.toml"

    @property
    def log_path(self) -> Path:
        return self.directory / "node.log"

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    def ports(self) -> dict[str, int]:
        return {"AMQP": self.amqp_port, "HTTP": self.http_port, "peer": self.peer_port}


def plan(data: Path, *, nodes: int, amqp_port: int) -> list[DevNode]:
    """The nodes in order, and behind them those that `data` holds beyond that. DevError when the ports do not fit."""
    if not 1 <= nodes <= NODES_MAX:
        raise DevError(f"--nodes: expected 1..{NODES_MAX}, got {nodes}")
    data = data.absolute()
    nodes = max(nodes, sum(1 for _ in data.glob("node-*/clusterd.toml")))
    last_first_port = 65_535 - PEER_OFFSET - (nodes - 1)
    if not 1 <= amqp_port <= last_first_port:
        raise DevError(f"--amqp-port: expected 1..{last_first_port} for {nodes} nodes, got {amqp_port}")
    return [
        DevNode(
            name=f"node-{index}",
            directory=data / f"node-{index}",
            amqp_port=amqp_port + index,
            http_port=amqp_port + HTTP_OFFSET + index,
            peer_port=amqp_port + PEER_OFFSET + index,
        )
        for index in range(nodes)
    ]


def write(data: Path, nodes: Sequence[DevNode], newcomers: Sequence[DevNode] = ()) -> None:
    """Make the directories, the secret and one configuration file a node. DevError when the disk refuses.

    `newcomers` are not named in anybody's `cluster.peers`: they join the cluster that the others found.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        secret = data.absolute() / "secret"
        if not secret.exists():
            descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(os.urandom(32).hex() + "\n")
        for node in (*nodes, *newcomers):
            node.directory.mkdir(exist_ok=True)
            node.config_path.write_text(_config(node, nodes, secret), encoding="utf-8")
    except OSError as error:
        raise DevError(f"{error.filename or data}: {error.strerror}") from None


def _config(node: DevNode, nodes: Sequence[DevNode], secret: Path) -> str:
    own_peer: dict[str, object] = {"host": node.host, "port": node.peer_port}
    if node not in nodes:
        own_peer["advertise"] = f"{node.host}:{node.peer_port}"
    peers = [f"{peer.name}={peer.host}:{peer.peer_port}" for peer in nodes]
    tables: dict[str, dict[str, object]] = {
        "node": {
            "name": node.name,
            "data_dir": str(node.directory / "data"),
            "drain_timeout_seconds": DRAIN_TIMEOUT_SECONDS,
        },
        "amqp": {"host": node.host, "port": node.amqp_port},
        "http": {"host": node.host, "port": node.http_port},
        "peer": own_peer,
        "cluster": {"name": "dev", "peers": peers, "secret_file": str(secret)},
    }
    lines = ["# Written by `clusterd dev` at every start."]
    for section, table in tables.items():
        lines += ["", f"[{section}]"]
        # JSON's strings, numbers and lists are TOML's too.
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def port_in_use(nodes: Sequence[DevNode]) -> str | None:
    """One line about the first port that cannot be listened on; None when all are free."""
    for node in nodes:
        for use, port in node.ports().items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    reason = "is in use" if error.errno == errno.EADDRINUSE else f"is refused ({error.strerror})"
                    return f"port {port} ({use} of {node.name}) {reason}: choose another --amqp-port"
    return None
