"""HAProxy as a process, set up as deploy/haproxy says, but for addresses and the ports of TLS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.node.dev.child import start_process
from tests.cluster.harness import HOST, free_ports

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"


class Server(NamedTuple):
    """Where a node serves clients and answers probes."""

    host: str
    amqp_port: int
    http_port: int


@contextmanager
def haproxy(servers: Sequence[Server], directory: Path, *, sends_addresses: bool) -> Iterator[int]:
    """The port at which it takes clients. `sends_addresses`: by the PROXY protocol. Skips where there is no HAProxy."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("no haproxy on this machine")
    port = free_ports(1)
    frontend, _, rest = EXAMPLE.read_text().partition("# TLS ends at the nodes")
    backend = "backend nodes\n" + rest.partition("backend nodes\n")[2].partition("backend nodes_sealed")[0]
    text = (frontend + backend).replace("bind :5672", f"bind {HOST}:{port}")
    for index, (host, amqp_port, http_port) in enumerate(servers):
        example = f"server mq-{index} mq-{index}.example.com:5672"
        assert example in text
        text = text.replace(example, f"server mq-{index} {host}:{amqp_port} port {http_port}")
    if not sends_addresses:
        text = text.replace(" send-proxy-v2", "")
    (directory / "haproxy.cfg").write_text(text)
    process = start_process([program, "-db", "-f", str(directory / "haproxy.cfg")], output=directory / "haproxy.log")
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)
