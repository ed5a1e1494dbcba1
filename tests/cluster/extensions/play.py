"""Scenarios in two halves: clients work on nodes that do not lead the queue, and between the halves its leader dies.

Law: a scenario is a generator that yields once, in its middle. Each is played twice: straight through, and with the
others of its file, so that one `kill -9` in the middle of them all is enough. The node that dies is started again at
once. Every wait has a deadline.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest

from tests.cluster.clients import PATIENCE_SECONDS
from tests.cluster.harness import HOST, LocalCluster, wait_until

Message = tuple[Any, Any, bytes]
Scenario = Callable[["Stage"], Iterator[None]]
LEADERSHIP_SECONDS = 40.0
"""A node that was away gets its leaderships back after some looks of the others."""


class Field:
    """The cluster, and whose turn to die it is."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.turn = 0
        self._names = 0
        self._is_whole = True

    def bereave(self, node: int) -> None:
        """It is killed, and comes back by itself while others work."""
        self.cluster.kill(node)
        self.cluster.start(node)
        self._is_whole = False

    def make_whole(self) -> None:
        if not self._is_whole:
            self.cluster.wait_ready()
            self._is_whole = True

    def next_name(self) -> str:
        self._names += 1
        return f"extension-{self._names}"

    def api(self, method: str, path: str, body: object = None, node: int = 0) -> Any:
        """Raises HTTPError."""
        credentials = base64.b64encode(b"guest:guest").decode()
        request = urllib.request.Request(
            f"http://{HOST}:{self.cluster.nodes[node].http_port}/api{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"authorization": f"Basic {credentials}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def leader_of(self, queue: str, node: int) -> str:
        return str(self.api("GET", f"/queues/%2F/{queue}", node=node)["leader"])


class Stage:
    """One scenario's clients: `near` and `far` are channels on the two nodes that do not lead its queues."""

    def __init__(self, field: Field, leader: int) -> None:
        self.field = field
        self.leader = leader
        self.others = [node for node in range(3) if node != leader]
        field.make_whole()
        self.connections: list[Any] = [field.cluster.connect(node) for node in self.others]
        self.near, self.far = [connection.channel() for connection in self.connections]
        self.near.confirm_delivery()

    def name(self) -> str:
        return self.field.next_name()

    def queue(self, **arguments: object) -> str:
        """A durable queue that the node `leader` leads; `message_ttl` is x-message-ttl, and so on."""
        table = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
        name = self.name()
        maker: Any = self.field.cluster.connect(self.leader)
        maker.channel().queue_declare(name, durable=True, arguments={**table, "x-queue-leader-locator": "client-local"})
        maker.close()
        leader = self.field.cluster.nodes[self.leader].name
        near = self.others[0]
        until(lambda: self.field.leader_of(name, near) == leader, f"{leader} leads {name}", LEADERSHIP_SECONDS)
        return name

    def exchange(self, kind: str, **arguments: object) -> str:
        name = self.name()
        table = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.near.exchange_declare(name, kind, durable=True, arguments=table)
        return name

    def publish(self, queue: str, *bodies: bytes, exchange: str = "", **properties: Any) -> None:
        """Each confirmed before the next."""
        for body in bodies:
            content = pika.BasicProperties(delivery_mode=2, **properties)
            self.near.basic_publish(exchange, queue, body, content, mandatory=True)

    def get(self, queue: str, *, auto_ack: bool = True) -> Message:
        """The next message, which comes within the patience, through the far node."""
        found: list[Message] = []

        def came() -> bool:
            method, properties, body = self.far.basic_get(queue, auto_ack=auto_ack)
            if method is not None:
                found.append((method, properties, body))
            return method is not None

        until(came, f"a message in {queue}")
        return found[0]

    def bodies(self, queue: str, count: int) -> list[bytes]:
        return [self.get(queue)[2] for _ in range(count)]

    def count(self, queue: str) -> int:
        return int(self.far.queue_declare(queue, passive=True).method.message_count)

    def consume(self, queue: str, tag: str, into: list[tuple[str, bytes]], prefetch: int = 0, **arguments: Any) -> Any:
        """A channel on the far node with one consumer that acks nothing by itself."""
        channel = self.connections[1].channel()
        channel.basic_qos(prefetch_count=prefetch)
        channel.basic_consume(
            queue,
            lambda _, __, ___, body: into.append((tag, body)),
            consumer_tag=tag,
            arguments={"x-" + key: value for key, value in arguments.items()},
        )
        return channel

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Let the far clients work until it holds."""

        def holds() -> bool:
            self.connections[1].process_data_events(0.02)
            return condition()

        until(holds, what)

    def close(self) -> None:
        for connection in self.connections:
            if connection.is_open:
                connection.close()


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    wait_until(condition, what, seconds)


class Play:
    """One scenario on the way."""

    def __init__(self, field: Field, scenario: Scenario, leader: int) -> None:
        self._stage = Stage(field, leader)
        self._halves = scenario(self._stage)
        self._failure: Exception | None = None

    def begin(self) -> None:
        """What goes wrong in the first half is told by the second."""
        try:
            next(self._halves)
        except Exception as failure:  # noqa: BLE001 - raised by finish
            self._failure = failure

    def finish(self) -> None:
        try:
            if self._failure is not None:
                raise self._failure
            assert next(self._halves, "over") == "over", "a scenario has one middle"
        finally:
            self._stage.close()


def plays(*scenarios: Scenario) -> tuple[Any, Any]:
    """The fixture and the test of a file with these scenarios."""

    @pytest.fixture(scope="module")
    def bereaved(field: Field) -> dict[str, Play]:
        leader = field.turn % 3
        field.turn += 1
        begun = {scenario.__name__: Play(field, scenario, leader) for scenario in scenarios}
        for play in begun.values():
            play.begin()
        field.bereave(leader)
        return begun

    @pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.__name__)
    @pytest.mark.parametrize("leader", ["lives", "dies"])
    def test_it_works_from_other_nodes_while_its_leader(
        field: Field, request: pytest.FixtureRequest, scenario: Scenario, leader: str
    ) -> None:
        if leader == "lives":
            play = Play(field, scenario, field.turn % 3)
            play.begin()
        else:
            play = request.getfixturevalue("bereaved")[scenario.__name__]
        play.finish()

    return bereaved, test_it_works_from_other_nodes_while_its_leader
