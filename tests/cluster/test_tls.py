"""Clients over TLS, nodes linked over TLS, operators over HTTPS: real processes, certificates of a test's own."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import pika
import pytest
from pika.credentials import ExternalCredentials
from pika.exceptions import AMQPError

from cluster.node.dev.child import start_process
from tests.cluster.harness import HOST, LocalCluster, free_ports, wait_until
from tests.node.tls.authority import Authority

BODY = b"sealed " * 50_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.issue("alice")
    made.issue("mallory")
    return made


@pytest.fixture(scope="module")
def sealed(authority: Authority) -> Iterator[tuple[LocalCluster, list[int]]]:
    """A cluster whose nodes speak TLS with clients that want it, and always with each other; its AMQPS ports."""
    cluster = LocalCluster()
    ports = []
    for node in cluster.nodes:
        certificate, key = authority.issue(node.name, HOST, "localhost")
        ports.append(free_ports(1))
        text = node.config_path.read_text()
        text = text.replace("[peer]", "[peer]\ntls = true").replace("[amqp]", f"[amqp]\ntls_port = {ports[-1]}")
        tls = f'[tls]\ncert = "{certificate}"\nkey = "{key}"\nca = "{authority.ca}"\nverify = "optional"\n'
        node.config_path.write_text(f"{text}\n{tls}")
    with cluster:
        yield cluster, ports


def context(authority: Authority, name: str = "") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.ca))
    if name:
        made.load_cert_chain(authority.directory / f"{name}.crt", authority.directory / f"{name}.key")
    return made


def connect(port: int, tls: ssl.SSLContext, **options: Any) -> pika.BlockingConnection:
    sealed = pika.SSLOptions(tls, HOST)
    return pika.BlockingConnection(pika.ConnectionParameters(HOST, port, ssl_options=sealed, heartbeat=30, **options))


def test_pika_publishes_and_consumes_over_tls_on_all_nodes(
    sealed: tuple[LocalCluster, list[int]], authority: Authority
) -> None:
    cluster, ports = sealed
    with connect(ports[0], context(authority)) as publisher, connect(ports[2], context(authority)) as consumer:
        channel = publisher.channel()
        channel.queue_declare("sealed", durable=True)
        channel.confirm_delivery()
        for n in range(20):
            channel.basic_publish("", "sealed", b"%d " % n + BODY)
        got = consumer.channel()
        bodies = []
        for method, _, body in got.consume("sealed", inactivity_timeout=10):
            assert method is not None, f"{len(bodies)} of 20 arrived"
            got.basic_ack(method.delivery_tag)
            bodies.append(body)
            if len(bodies) == 20:
                break
        assert bodies == [b"%d " % n + BODY for n in range(20)]
        shown = subprocess.run(
            [sys.executable, "-m", "cluster.clusterctl.main", "--url", cluster.url(1), "connections", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.count('"ssl": true') == 2
        assert '"ssl_protocol": "tlsv1.3"' in shown.stdout


def test_aio_pika_publishes_and_consumes_over_tls(sealed: tuple[LocalCluster, list[int]], authority: Authority) -> None:
    async def talk() -> bytes:
        connection = await aio_pika.connect(
            host=HOST, port=sealed[1][1], ssl=True, ssl_context=context(authority), login="guest", password="guest"
        )
        async with connection:
            channel = await connection.channel(publisher_confirms=True)
            queue = await channel.declare_queue("aio-sealed", durable=True)
            await channel.default_exchange.publish(aio_pika.Message(BODY), "aio-sealed")
            message = await queue.get(timeout=10)
            await message.ack()
            return message.body

    # Its own loop: pytest's is Trio's.
    assert asyncio.run(talk()) == BODY


def test_a_certificate_is_a_login_by_external_for_the_user_of_its_name(
    sealed: tuple[LocalCluster, list[int]], authority: Authority
) -> None:
    cluster, ports = sealed
    api = ["--url", cluster.url(0)]
    ctl = [sys.executable, "-m", "cluster.clusterctl.main"]
    for words in (["users", "add", "alice", "not used"], ["permissions", "set", "alice", ".*", ".*", ".*"]):
        subprocess.run([*ctl, *words, *api], check=True, capture_output=True)
    external = ExternalCredentials()
    with connect(ports[1], context(authority, "alice"), credentials=external) as connection:
        connection.channel().queue_declare("of-alice", durable=True)
        shown = subprocess.run([*ctl, "connections", "--json", *api], capture_output=True, text=True, check=True)
        (told,) = [c for c in json.loads(shown.stdout) if c["user"] == "alice"]
        assert (told["auth_mechanism"], told["peer_cert_subject"].split(",")[0]) == ("EXTERNAL", "CN=alice")
        assert (told["ssl_key_exchange"], told["ssl_hash"]) == ("any", "aead")
        assert told["ssl_cipher"].startswith("aes_")
        assert "O=" in told["peer_cert_issuer"]
        begins, ends = map(datetime.fromisoformat, told["peer_cert_validity"].split(" - "))
        assert begins < datetime.now(UTC) < ends
    with pytest.raises(AMQPError):
        connect(ports[1], context(authority, "mallory"), credentials=external)
    with pytest.raises(AMQPError):
        connect(ports[1], context(authority), credentials=external)
    with connect(ports[1], context(authority, "mallory")):
        pass


def test_nobody_else_is_spoken_to_on_the_ports_of_tls(sealed: tuple[LocalCluster, list[int]]) -> None:
    cluster, ports = sealed
    for port, words in ((ports[0], b"AMQP\x00\x00\x09\x01"), (cluster.nodes[0].peer_port, b"\x00\x00\x00\x05hello")):
        with socket.create_connection((HOST, port), timeout=5) as plain:
            plain.sendall(words)
            answer = b""
            with suppress(ConnectionResetError):
                while part := plain.recv(4096):
                    answer += part
            # An alert of TLS at most.
            assert answer[:1] in (b"", b"\x15")
    wait_until(lambda: "no TLS with it" in cluster.log(0), "a line in the log")


def test_a_changed_certificate_is_taken_up_without_a_restart(
    sealed: tuple[LocalCluster, list[int]], authority: Authority
) -> None:
    cluster, ports = sealed

    def serial() -> str:
        with (
            socket.create_connection((HOST, ports[2]), timeout=5) as raw,
            context(authority).wrap_socket(raw, server_hostname=HOST) as tls,
        ):
            return str(tls.getpeercert()["serialNumber"])  # type: ignore[index]

    before = serial()
    authority.issue(cluster.nodes[2].name, HOST, "localhost")
    wait_until(lambda: serial() != before, "the new certificate", 20)
    assert cluster.connect(2).is_open


def clusterctl(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster.clusterctl.main", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_operators_speak_https_with_a_node_without_plain_ports(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("lone", HOST, days=20)
    amqps, https, peer = free_ports(1), free_ports(1), free_ports(1)
    flags = {
        "node-name": "lone",
        "node-data-dir": str(tmp_path),
        "amqp-port": "0",
        "amqp-tls-port": str(amqps),
        "http-port": str(https),
        "http-tls": "true",
        "peer-port": str(peer),
        "tls-cert": str(certificate),
        "tls-key": str(key),
    }
    arguments = [word for name, value in flags.items() for word in (f"--{name}", value)]
    node = start_process([sys.executable, "-m", "cluster.node.main", *arguments], output=tmp_path / "log")
    url = f"https://{HOST}:{https}"
    try:
        awaited = clusterctl("--url", url, "--ca", str(authority.ca), "await", "ready", "--timeout", "30")
        assert (awaited.returncode, awaited.stdout) == (0, "ready\n"), (awaited.stderr, (tmp_path / "log").read_text())
        assert clusterctl("--url", url, "check", "ready").returncode == 3
        assert clusterctl("--url", url, "--insecure", "check", "ready").returncode == 0
        assert clusterctl("--url", f"http://{HOST}:{https}", "check", "ready").returncode == 3
        soon = clusterctl("--url", url, "--insecure", "check", "certs")
        assert (soon.returncode, soon.stderr) == (1, "clusterctl: the certificate of lone expires in 20.0 days\n")
        assert clusterctl("--url", url, "--insecure", "check", "certs", "--within", "10").returncode == 0
        with connect(amqps, context(authority)) as connection:
            channel = connection.channel()
            channel.queue_declare("lone", durable=True)
            # What the API publishes needs no port of AMQP either.
            request = urllib.request.Request(
                f"{url}/api/exchanges/%2F/amq.default/publish",
                b'{"properties": {}, "routing_key": "lone", "payload": "x", "payload_encoding": "string"}',
                {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="},
            )
            with urllib.request.urlopen(request, context=context(authority), timeout=10) as answer:
                assert answer.read() == b'{"routed":true}'
            assert channel.basic_get("lone", auto_ack=True)[2] == b"x"
    finally:
        node.terminate()
        assert node.wait(20) == 0
