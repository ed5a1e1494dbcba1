"""A program that recovers by itself, while its own node is killed and comes back.

Law: what was confirmed while it was away reaches it; what was redelivered says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.clients.conftest import url_of
from tests.clients.foreign import Telling
from tests.cluster.clients import publish
from tests.cluster.harness import LocalCluster


def survive(
    cluster: LocalCluster, queue: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> None:
    """`command SCENE URL QUEUE` says "ready" when it consumes, and "got BODY REDELIVERED"; ends after body "last"."""
    home, other = 1, 2
    with Telling([*command, "recover", url_of(cluster, home), queue], environment=environment) as program:
        program.until(lambda said: "ready" in said, "it consumes")
        publish(cluster.connect(other), queue, range(10))
        program.until(lambda said: "got 9 false" in said, "it got ten messages")
        cluster.kill(home)
        program.until(lambda said: "disconnected" in said, "it noticed")
        elsewhere = cluster.connect(other)
        publish(elsewhere, queue, range(10, 20))
        cluster.start(home)
        program.until(lambda said: said.count("ready") == 2, "it is back")
        elsewhere.channel().basic_publish("", queue, b"last")
        program.ends()
        got = [line.split()[1:] for line in program.lines if line.startswith("got ")]
        assert {body for body, _ in got} == {str(n) for n in range(20)} | {"last"}
        # Acks that were under way when the node died are not known to have arrived.
        seen: set[str] = set()
        for body, redelivered in got:
            assert redelivered == "true" or body not in seen, f"{body} came again and did not say so"
            seen.add(body)
        elsewhere.channel().queue_delete(queue)
