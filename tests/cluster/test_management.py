"""Management on real processes: what one node is told, all do; and a node that starts with definitions."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pika
import pika.exceptions
import pytest

from chaos.local_cluster import PROGRAM
from tests.cluster.harness import HOST, LocalCluster, wait_until

PERSISTENT = pika.BasicProperties(delivery_mode=2)
GUEST = "guest:guest"


def ask(
    cluster: LocalCluster,
    node: int,
    method: str,
    path: str,
    document: object = None,
    *,
    user: str = GUEST,
    reason: str = "",
) -> tuple[int, Any]:
    """Status and document of a request to a node."""
    address = urlsplit(cluster.url(node))
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    if reason:
        headers["X-Reason"] = reason
    try:
        body = None if document is None else json.dumps(document)
        connection.request(method, f"/api/{path}", body=body, headers=headers)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data else None
    finally:
        connection.close()


def connect_as(cluster: LocalCluster, node: int, user: str, password: str, vhost: str) -> pika.BlockingConnection:
    credentials = pika.PlainCredentials(user, password)
    return cluster.connect(node, credentials=credentials, virtual_host=vhost)


def legacy(name: str, vhost: str) -> dict[str, Any]:
    """Definitions as RabbitMQ writes them: a user with its kind of hash, a vhost, a quorum queue behind an exchange."""
    text = base64.b64encode(b"salt" + hashlib.sha256(b"salt" + b"secret").digest()).decode()
    algorithm = "rabbit_password_hashing_sha256"
    return {
        "users": [{"name": name, "password_hash": text, "hashing_algorithm": algorithm, "tags": ["management"]}],
        "vhosts": [{"name": vhost}],
        "permissions": [{"user": name, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}],
        "queues": [
            {
                "name": "carts",
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum"},
            }
        ],
        "exchanges": [{"name": "ev", "vhost": vhost, "type": "topic", "durable": True, "auto_delete": False}],
        "bindings": [
            {
                "source": "ev",
                "vhost": vhost,
                "destination": "carts",
                "destination_type": "queue",
                "routing_key": "cart.#",
                "arguments": {},
            }
        ],
    }


def test_imported_definitions_work_through_every_node_and_vanish_with_their_vhost(cluster: LocalCluster) -> None:
    assert ask(cluster, 0, "POST", "definitions", legacy("shop-user", "sh/op")) == (204, None)
    publisher = connect_as(cluster, 1, "shop-user", "secret", "sh/op")
    channel = publisher.channel()
    channel.confirm_delivery()
    for number in range(3):
        channel.basic_publish("ev", "cart.new", b"%d" % number, PERSISTENT, mandatory=True)
    status, queue = ask(cluster, 2, "GET", "queues/sh%2Fop/carts")
    assert (status, queue["messages"], queue["messages_ready"], queue["state"]) == (200, 3, 3, "running")
    assert sorted(queue["members"]) == ["node-0", "node-1", "node-2"]
    assert ask(cluster, 2, "DELETE", "queues/sh%2Fop/carts/contents") == (204, None)
    assert ask(cluster, 0, "GET", "queues/sh%2Fop/carts")[1]["messages"] == 0
    assert ask(cluster, 0, "GET", "whoami", user="shop-user:secret")[1] == {"name": "shop-user", "tags": ["management"]}
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect_as(cluster, 0, "shop-user", "wrong", "sh/op")
    assert ask(cluster, 2, "DELETE", "vhosts/sh%2Fop")[0] == 204
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        publisher.process_data_events(time_limit=10)
    assert (closed.value.reply_code, closed.value.reply_text) == (
        320,
        "CONNECTION_FORCED - vhost 'sh/op' is deleted",
    )
    assert ask(cluster, 0, "DELETE", "users/shop-user")[0] == 204


def test_sessions_are_listed_and_closed_from_another_node_with_the_reason(cluster: LocalCluster) -> None:
    client = cluster.connect(1, client_properties={"connection_name": "billing"})
    channel = client.channel()
    channel.queue_declare("sessions", durable=True)
    channel.basic_qos(prefetch_count=7)
    channel.basic_consume("sessions", lambda *_: None, consumer_tag="ctag")
    found = [c for c in ask(cluster, 0, "GET", "connections")[1] if c["user_provided_name"] == "billing"]
    assert [(c["node"], c["user"], c["vhost"], c["channels"]) for c in found] == [("node-1", "guest", "/", 1)]
    name = found[0]["name"]
    assert name.endswith(f" -> {HOST}:{cluster.port(1)}")
    channels = ask(cluster, 2, "GET", f"connections/{quote(name, safe='')}/channels")[1]
    assert [(c["name"], c["prefetch_count"], c["consumer_count"]) for c in channels] == [(f"{name} (1)", 7, 1)]
    consumers = ask(cluster, 2, "GET", "consumers/%2F")[1]
    assert ("ctag", "sessions") in [(c["consumer_tag"], c["queue"]["name"]) for c in consumers]
    path = f"connections/{quote(name, safe='')}"
    assert ask(cluster, 2, "DELETE", path, reason="node moves")[0] == 204
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        client.process_data_events(time_limit=10)
    assert (closed.value.reply_code, closed.value.reply_text) == (320, "CONNECTION_FORCED - node moves")
    wait_until(lambda: ask(cluster, 0, "GET", path)[0] == 404, "the closed connection is not listed any more")
    assert ask(cluster, 0, "DELETE", "queues/%2F/sessions")[0] == 204


def test_a_message_passes_through_every_node(cluster: LocalCluster) -> None:
    for node in range(3):
        assert ask(cluster, node, "GET", "aliveness-test/%2F") == (200, {"status": "ok"})
    ask(cluster, 0, "DELETE", "queues/%2F/aliveness-test")


def test_single_messages_go_in_and_out_over_http(cluster: LocalCluster) -> None:
    assert ask(cluster, 0, "PUT", "queues/%2F/looked-at", {})[0] == 201
    publish = "exchanges/%2F/amq.default/publish"
    properties = {"delivery_mode": 2, "headers": {"n": 1}, "content_type": "text/plain"}
    message = {"routing_key": "looked-at", "payload": "héllo", "properties": properties}
    assert ask(cluster, 1, "POST", publish, message) == (200, {"routed": True})
    octets = {"routing_key": "looked-at", "payload": "/w==", "payload_encoding": "base64", "properties": []}
    assert ask(cluster, 1, "POST", publish, octets) == (200, {"routed": True})
    assert ask(cluster, 1, "POST", publish, {**message, "routing_key": "nowhere"}) == (200, {"routed": False})
    get = "queues/%2F/looked-at/get"
    for redelivered in (False, True):
        status, found = ask(cluster, 2, "POST", get, {"count": 5, "ackmode": "ack_requeue_true"})
        assert (status, [m["payload"] for m in found]) == (200, ["héllo", "/w=="])
        assert [m["payload_encoding"] for m in found] == ["string", "base64"]
        assert found[0]["properties"] == properties
        assert found[0]["redelivered"] == redelivered
    (cut,) = ask(cluster, 2, "POST", get, {"count": "1", "ackmode": "ack_requeue_true", "truncate": "1"})[1]
    assert (cut["payload"], cut["payload_bytes"]) == ("h", 6)
    assert len(ask(cluster, 0, "POST", get, {"count": 1, "ackmode": "ack_requeue_false"})[1]) == 1
    assert len(ask(cluster, 0, "POST", get, {"count": 5, "ackmode": "reject_requeue_false"})[1]) == 1
    assert ask(cluster, 0, "POST", get, {"count": 1, "ackmode": "ack_requeue_true"}) == (200, [])
    assert ask(cluster, 0, "POST", get, {"count": 1, "ackmode": "x"})[0] == 400
    wrong = {**message, "properties": {"expiration": "soon"}}
    status, problem = ask(cluster, 0, "POST", publish, wrong)
    assert (status, problem["reason"]) == (400, "invalid expiration 'soon': no_integer")
    assert ask(cluster, 0, "DELETE", "queues/%2F/looked-at")[0] == 204


def started_with(directory: Path, document: object) -> LocalCluster:
    """A cluster of one that loads a document when it starts; not started yet."""
    file = directory / "definitions.json"
    file.write_text(json.dumps(document))
    cluster = LocalCluster(nodes=1, directory=directory)
    config = cluster.nodes[0].config_path
    config.write_text(config.read_text() + f"\n[definitions]\nload = {json.dumps(str(file))}\n")
    return cluster


def test_a_node_starts_with_its_definitions_again_and_again(tmp_path: Path) -> None:
    with started_with(tmp_path, {**legacy("u", "v"), "federation": []}) as cluster:
        first = ask(cluster, 0, "GET", "definitions")[1]
        assert [queue["name"] for queue in first["queues"]] == ["carts"]
        connect_as(cluster, 0, "u", "secret", "v").close()
        cluster.terminate(0)
        cluster.start_all()
        assert ask(cluster, 0, "GET", "definitions")[1] == first
        log = cluster.log(0)
    assert "section 'federation' is skipped: unknown" in log
    assert "created=6 changed=0" in log
    assert "created=0 changed=0 unchanged=6" in log


def test_a_node_with_wrong_definitions_ends_with_one_line(tmp_path: Path) -> None:
    cluster = started_with(tmp_path, {"queues": [{"name": "q", "vhost": "nope"}]})
    config = str(cluster.nodes[0].config_path)
    ended = subprocess.run(
        [*PROGRAM, "--config", config, "--log-level", "error"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"clusterd: node-0: {tmp_path}/definitions.json: queues[0] ('q'): there is no vhost 'nope'"
    ]
