"""RabbitMQ's health checks over HTTP: 200, or 503 with the reason."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource, node_report


async def test_health_checks_are_200_or_503_with_the_reason() -> None:
    async with served(FakeSource()) as client:
        for check in ("alarms", "local-alarms", "node-is-quorum-critical", "ready-to-serve-clients", "is-in-service"):
            assert await client.get(f"health/checks/{check}", "team:t") == {"status": "ok"}
        await client.get("aliveness-test/%2F")
    source = FakeSource(node_report("mq-1", alarms=("memory",), phase="draining"), node_report("mq-0"))
    async with served(source) as client:
        for check, reason in (
            ("alarms", "There are alarms in effect in the cluster"),
            ("local-alarms", "There are alarms in effect on the node"),
            (
                "node-is-quorum-critical",
                "There are quorum queues that would lose their quorum if the target node is shut down",
            ),
            ("ready-to-serve-clients", "draining"),
            ("is-in-service", "draining"),
        ):
            answer = await client.ask(f"/api/health/checks/{check}", user="guest:guest")
            assert (answer.status, answer.json()["status"], answer.reason) == (503, "failed", reason)


async def test_listeners_are_checked_by_port_and_by_protocol() -> None:
    async with served(FakeSource()) as client:
        for check in ("port-listener/5672", "port-listener/15672", "protocol-listener/amqp"):
            assert (await client.get(f"health/checks/{check}"))["status"] == "ok"
        answer = await client.ask("/api/health/checks/port-listener/1883", user="guest:guest")
        assert (answer.status, answer.reason) == (503, "No active listener")
        answer = await client.ask("/api/health/checks/protocol-listener/mqtt", user="guest:guest")
        assert (answer.status, answer.reason) == (503, "No active listener")


async def test_a_certificate_that_ends_soon_fails_its_check() -> None:
    source = FakeSource()
    path = "health/checks/certificate-expiration"
    async with served(source) as client:
        assert (await client.get(f"{path}/1/years"))["status"] == "ok"
        source.local = replace(source.local, certificate_expires_at=time.time() + 10 * 24 * 3600)
        assert (await client.get(f"{path}/1/weeks"))["status"] == "ok"
        assert (await client.ask(f"/api/{path}/1/months", user="guest:guest")).status == 503
        answer = await client.ask(f"/api/{path}/1/lunes", user="guest:guest")
        assert answer.reason == "Time unit not recognised. Supported units: days, weeks, months, years."
        assert (await client.ask(f"/api/{path}/x/days", user="guest:guest")).reason == "Invalid expiration value."


async def test_the_old_check_of_a_node_is_200_whatever_it_finds() -> None:
    async with served(FakeSource()) as client:
        assert await client.get("healthchecks/node") == {"status": "ok"}
        assert await client.get("healthchecks/node/mq-1") == {"status": "ok"}
        assert (await client.ask("/api/healthchecks/node/nope", user="guest:guest")).status == 404


async def test_every_check_is_open_to_a_user_with_the_tag_management() -> None:
    async with served(FakeSource()) as client:
        for path in (
            "healthchecks/node",
            "healthchecks/node/mq-1",
            "health/checks/alarms",
            "health/checks/virtual-hosts",
        ):
            assert await client.get(path, "team:t") == {"status": "ok"}, path
