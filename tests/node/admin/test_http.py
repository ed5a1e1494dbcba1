"""The admin interface over real HTTP on loopback, in front of a fake node."""

from __future__ import annotations

import base64
import logging

import pytest
import trio

from cluster.node.admin.server import serve_admin
from tests.node.admin.client import Answer, served
from tests.node.admin.fake_source import FakeSource, node_report

STATUS = "/api/cluster/status"


async def test_livez_answers_while_the_loop_turns_whatever_the_node_reports() -> None:
    source = FakeSource(node_report("mq-0", phase="starting", groups=()))
    source.fault = RuntimeError("not asked")
    async with served(source) as client:
        answer = await client.ask("/livez")
        assert (answer.status, answer.body) == (200, b"ok\n")


async def test_readyz_is_200_when_ready_and_503_with_one_line_when_not() -> None:
    source = FakeSource()
    async with served(source) as client:
        answer = await client.ask("/readyz")
        assert (answer.status, answer.body) == (200, b"ready\n")
        source.local = node_report("mq-0", phase="draining")
        answer = await client.ask("/readyz")
        assert (answer.status, answer.body) == (503, b"draining\n")


async def test_metrics_are_prometheus_text_with_units_in_the_names() -> None:
    async with served(FakeSource()) as client:
        answer = await client.ask("/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = answer.body.decode().splitlines()
    for line in (
        'clustermq_node_info{name="mq-0",version="1.2.0"} 1.0',
        "clustermq_ready 1.0",
        "# TYPE clustermq_published_total counter",
        "clustermq_published_total 1000.0",
        'clustermq_fsync_seconds{quantile="0.99"} 0.0031',
        'clustermq_alarm{alarm="memory"} 0.0',
        'clustermq_group_leader{group="1"} 1.0',
        'clustermq_group_replica_lag{group="0",replica="mq-2"} 3.0',
    ):
        assert line in lines


async def test_status_shows_the_cluster_with_a_node_down() -> None:
    async with served(FakeSource(node_report("mq-0"), node_report("mq-1"))) as client:
        document = (await client.ask(STATUS, user="guest:guest")).json()
    assert document["cluster"] == {"name": "orders-mq", "id": "c1", "answered_by": "mq-1", "version": "1.2.0"}
    assert document["verdict"]["health"] == "degraded"
    assert (document["verdict"]["nodes_up"], document["verdict"]["nodes"]) == (2, 3)
    first, _, last = document["nodes"]
    assert (first["name"], first["pid"], first["state"], first["role"], first["leads"]) == (
        "mq-0",
        100,
        "ready",
        "leader",
        2,
    )
    assert first["fsync_p99_ms"] == 3.1
    assert last == {
        "name": "mq-2",
        "address": "10.0.1.2:25672",
        "up": False,
        "state": "unreachable",
        "reason": "connection refused",
        "last_seen_seconds": 42.0,
    }
    shard = document["groups"][1]
    assert (shard["kind"], shard["leader"], shard["critical_nodes"]) == ("shard", "mq-0", ["mq-0", "mq-1"])
    assert shard["members"][2] == {
        "node": "mq-2",
        "voter": True,
        "up": False,
        "applied_index": None,
        "lag": 1,
        "fault": "",
    }
    assert document["totals"]["messages_ready"] == 20
    assert document["alarms"] == []


async def test_the_time_other_nodes_may_take_can_be_asked_for_and_is_bounded() -> None:
    source = FakeSource()
    async with served(source) as client:
        assert (await client.ask(f"{STATUS}?timeout=0.25", user="guest:guest")).status == 200
        refused = await client.ask(f"{STATUS}?timeout=60", user="guest:guest")
    assert source.timeouts == [0.25]
    assert (refused.status, refused.json()["detail"]) == (400, "timeout: expected seconds within 0..4, got '60'")


async def test_queues_and_connections_list_what_the_node_knows() -> None:
    async with served(FakeSource()) as client:
        queues = (await client.ask("/api/queues", user="watch:w:w")).json()
        connections = (await client.ask("/api/connections", user="watch:w:w")).json()
    assert [(queue["vhost"], queue["name"], queue["messages_ready"]) for queue in queues] == [("/", "orders", 9)]
    assert [(connection["user"], connection["client"]) for connection in connections] == [("guest", "pika 1.3.2")]


async def test_a_transfer_is_asked_of_the_node_and_its_refusals_are_problems() -> None:
    source = FakeSource()
    async with served(source) as client:

        async def transfer(group: int, body: str) -> Answer:
            path = f"/api/groups/{group}/transfer"
            return await client.ask(path, user="guest:guest", method="POST", body=body)

        assert (await transfer(1, '{"node": "mq-1"}')).status == 202
        unknown = await transfer(9, '{"node": "mq-1"}')
        behind = await transfer(1, '{"node": "mq-2"}')
        wrong = await transfer(1, "mq-1")
        long = await transfer(1, " " * 5000)
    assert source.transfers == [(1, "mq-1")]
    assert unknown.headers["content-type"] == "application/problem+json"
    assert unknown.json() == {
        "title": "Not Found",
        "status": 404,
        "detail": "there is no group 9",
        "error": "Object Not Found",
        "reason": "there is no group 9",
    }
    assert behind.json()["title"] == "Conflict"
    assert behind.json()["detail"] == behind.json()["reason"] == "mq-2 is 3,653 entries behind"
    assert (wrong.status, wrong.json()["detail"]) == (400, 'expected a body such as {"node": "mq-1"}')
    assert long.status == 413


@pytest.mark.parametrize("user", [None, "guest:wrong", "nobody:guest", "guest"])
async def test_the_api_challenges_callers_without_valid_credentials(user: str | None) -> None:
    async with served(FakeSource()) as client:
        answer = await client.ask(STATUS, user=user)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.json()["title"] == "Unauthorized"


async def test_reading_wants_monitoring_and_changing_wants_administrator() -> None:
    async with served(FakeSource()) as client:
        assert (await client.ask(STATUS, user="app:app")).status == 403
        assert (await client.ask(STATUS, user="watch:w:w")).status == 200
        answer = await client.ask("/api/groups/1/transfer", user="watch:w:w", method="POST", body='{"node": "mq-1"}')
    assert answer.status == 403
    assert answer.json()["detail"] == "needs a user with one of the tags administrator"


async def test_unknown_paths_and_wrong_methods_are_problems() -> None:
    async with served(FakeSource()) as client:
        missing = await client.ask("/api/nothing", user="guest:guest")
        wrong = await client.ask("/api/groups/1/transfer", user="guest:guest")
    assert (missing.status, missing.headers["content-type"]) == (404, "application/problem+json")
    assert (wrong.status, wrong.headers["content-type"]) == (405, "application/problem+json")


async def test_a_path_tells_all_its_methods_to_who_asks_for_them_and_to_who_uses_another() -> None:
    async with served(FakeSource()) as client:
        asked = await client.ask("/api/queues/%2F/orders", method="OPTIONS")
        wrong = await client.ask("/api/queues/%2F/orders", user="guest:guest", method="PATCH")
        unknown = await client.ask("/api/nothing", method="OPTIONS")
        head = await client.ask("/api/queues/%2F/orders", user="guest:guest", method="HEAD")
    assert (asked.status, asked.headers["allow"]) == (200, "HEAD, GET, PUT, DELETE, OPTIONS")
    assert (wrong.status, set(wrong.headers["allow"].split(", "))) == (405, set(asked.headers["allow"].split(", ")))
    assert unknown.status == 404
    assert (head.status, head.body) == (200, b"")


class Heard(logging.Handler):
    """Sets `event` at the first record."""

    def __init__(self) -> None:
        super().__init__()
        self.event = trio.Event()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.event.set()


async def test_a_fault_in_the_node_is_a_500_that_tells_nothing_and_is_logged() -> None:
    heard = Heard()
    logging.getLogger("cluster.http").addHandler(heard)
    source = FakeSource()
    try:
        async with served(source) as client:
            source.fault = RuntimeError("inner detail")
            answer = await client.ask("/readyz")
            with trio.fail_after(10):
                await heard.event.wait()
    finally:
        logging.getLogger("cluster.http").removeHandler(heard)
    assert answer.status == 500
    assert answer.json()["detail"] == "a fault in the node; its log has the details"
    assert [str(record.exc_info and record.exc_info[1]) for record in heard.records] == ["inner detail"]


async def test_an_address_in_use_is_an_oserror() -> None:
    async with served(FakeSource()) as client:
        with pytest.RaisesGroup(OSError, allow_unwrapped=True, flatten_subgroups=True):
            await serve_admin(FakeSource(), host="127.0.0.1", port=client.port)


@pytest.mark.parametrize(
    "path",
    [
        "PUT policies/%2F/p",
        "PUT operator-policies/%2F/p",
        "PUT users/s",
        "PUT queues/%2F/q",
        "PUT exchanges/%2F/e",
        "PUT vhosts/v",
        "PUT global-parameters/g",
        "PUT permissions/%2F/guest",
        "PUT vhost-limits/%2F/max-queues",
        "POST bindings/%2F/e/amq.topic/q/orders",
        "POST exchanges/%2F/amq.default/publish",
        "POST queues/%2F/orders/get",
        "POST definitions",
        "POST users/bulk-delete",
        "POST groups/1/transfer",
    ],
)
async def test_a_body_that_could_not_be_written_again_is_a_400_wherever_it_is_sent(path: str) -> None:
    method, _, where = path.partition(" ")
    async with served(FakeSource()) as client:
        for wrong in (
            r'{"a":"\ud800"}',
            r'{"a":["x\udfff\ud800"]}',
            r'{"a":{"\ud800":1}}',
            '{"a":9223372036854775808}',
            '{"a":[-99999999999999999999999999]}',
            '{"value":NaN}',
            '{"a":{"b":-Infinity}}',
            '{"a":[1e400]}',
            '{"a":' + "[" * 4000,
        ):
            answer = await client.ask(f"/api/{where}", user="guest:guest", method=method, body=wrong)
            assert answer.status == 400, (wrong[:40], answer.body)
            assert "\n" not in answer.reason


async def test_a_whole_surrogate_pair_and_numbers_of_64_bits_are_taken() -> None:
    async with served(FakeSource()) as client:
        body = r'{"arguments":{"x-\ud83d\ude00":[9223372036854775807,-9223372036854775808]}}'
        answer = await client.ask("/api/queues/%2F/q", user="guest:guest", method="PUT", body=body)
        assert answer.status == 201, answer.body
        assert (await client.get("queues/%2F/q"))["arguments"] == {"x-😀": [2**63 - 1, -(2**63)]}


async def test_a_caller_that_breaks_off_in_its_body_is_no_fault_of_the_node() -> None:
    heard = Heard()
    logging.getLogger("cluster.http").addHandler(heard)
    try:
        async with served(FakeSource()) as client:
            stream = await trio.open_tcp_stream("127.0.0.1", client.port)
            credentials = base64.b64encode(b"guest:guest").decode()
            head = f"POST /api/definitions HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n"
            await stream.send_all(f"{head}Content-Length: 99999\r\n\r\n{{".encode())
            await stream.send_eof()
            with trio.fail_after(10):
                while await stream.receive_some():
                    pass
            await stream.aclose()
            assert (await client.ask("/livez")).status == 200
    finally:
        logging.getLogger("cluster.http").removeHandler(heard)
    assert [record.getMessage() for record in heard.records] == []
