"""Clients behind a proxy: the node knows them by the proxy's header, and HAProxy sends them where they are served."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError

from tests.cluster.haproxy import Server, haproxy
from tests.cluster.harness import HOST, LocalCluster, wait_until


@pytest.fixture(scope="module")
def proxied() -> Iterator[LocalCluster]:
    """A cluster whose clients all come through proxies."""
    cluster = LocalCluster()
    for node in cluster.nodes:
        text = node.config_path.read_text()
        node.config_path.write_text(text.replace("[amqp]", "[amqp]\nproxy_protocol = true"))
    with cluster:
        yield cluster


@pytest.fixture(scope="module")
def proxy_port(proxied: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of HAProxy before the cluster."""
    servers = [Server(HOST, node.amqp_port, node.http_port) for node in proxied.nodes]
    with haproxy(servers, tmp_path_factory.mktemp("haproxy"), sends_addresses=True) as port:
        wait_until(lambda: _answers(port), "haproxy")
        yield port


def _answers(port: int) -> bool:
    try:
        connect(port).close()
    except (AMQPError, OSError):
        return False
    return True


def connect(port: int) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters(HOST, port, heartbeat=30, socket_timeout=5))


def api(cluster: LocalCluster, node: int, path: str, *, method: str = "GET") -> Any:
    request = urllib.request.Request(
        f"{cluster.url(node)}/api/{path}",
        b"{}" if method == "POST" else None,
        {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def said_by(cluster: LocalCluster, header: bytes) -> bytes:
    """What node 0 answers a client that comes with this header; b"" if it hangs up."""
    with socket.create_connection((HOST, cluster.port(0)), timeout=5) as client, suppress(ConnectionResetError):
        client.sendall(header + b"AMQP\x00\x00\x09\x01")
        return client.recv(7)
    return b""


def test_a_client_is_known_by_the_address_that_haproxy_saw(proxied: LocalCluster, proxy_port: int) -> None:
    connection = connect(proxy_port)
    ours = connection._impl._transport._sock.getsockname()  # type: ignore[attr-defined]
    shown = api(proxied, 0, "connections")
    assert [(c["peer_host"], c["peer_port"], c["port"]) for c in shown] == [(HOST, ours[1], proxy_port)]
    assert shown[0]["name"] == f"{HOST}:{ours[1]} -> {HOST}:{proxy_port}"
    connection.close()


def test_the_default_user_of_a_proxied_stranger_is_not_on_loopback(proxied: LocalCluster) -> None:
    stranger = b"PROXY TCP4 192.0.2.7 192.0.2.1 40312 5672\r\n"
    assert said_by(proxied, stranger)[:1] == b"\x01"
    with socket.create_connection((HOST, proxied.port(0)), timeout=5) as client:
        start_ok = pika.spec.Connection.StartOk(
            client_properties={"capabilities": {"authentication_failure_close": True}},
            mechanism="PLAIN",
            response=b"\0guest\0guest",
            locale="en_US",
        )
        payload = b"".join([b"\x00\x0a\x00\x0b", *start_ok.encode()])
        frame = b"\x01\x00\x00" + len(payload).to_bytes(4) + payload + b"\xce"
        client.sendall(stranger + b"AMQP\x00\x00\x09\x01" + frame)
        answer = b""
        while b"ACCESS_REFUSED" not in answer:
            part = client.recv(4096)
            assert part, answer
            answer += part
    assert "this user may log in over loopback only" in proxied.log(0)
    assert "peer=192.0.2.7" in proxied.log(0)


def test_who_comes_without_a_header_is_refused_with_a_line_in_the_log(proxied: LocalCluster) -> None:
    assert said_by(proxied, b"") == b""
    wait_until(lambda: "no header of a proxy" in proxied.log(0), "a line in the log")
    assert said_by(proxied, b"PROXY UNKNOWN\r\n")[:1] == b"\x01"


def test_haproxy_leaves_out_a_drained_node_until_it_is_revived(proxied: LocalCluster, proxy_port: int) -> None:
    names = [node.name for node in proxied.nodes]
    wait_until(lambda: {connected(proxied, proxy_port) for _ in range(4)} == set(names), "clients on all nodes")
    assert api(proxied, 1, "maintenance/drain", method="POST")["node"] == names[1]
    wait_until(lambda: api(proxied, 1, "maintenance")["phase"] == "drained", "the drain")
    for _ in range(8):
        # One that has been balanced to the drained node before HAProxy knew is refused there, and sent elsewhere.
        assert connected(proxied, proxy_port) in (names[0], names[2])
    api(proxied, 1, "maintenance/revive", method="POST")
    wait_until(lambda: names[1] in {connected(proxied, proxy_port) for _ in range(4)}, "clients on the revived node")


def connected(cluster: LocalCluster, proxy_port: int) -> str:
    """The node that a new client gets to."""
    connection = connect(proxy_port)
    name = str(api(cluster, 0, "connections")[0]["node"])
    connection.close()
    return name
