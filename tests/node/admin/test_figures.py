"""Figures in RabbitMQ's words, from reports of nodes that may be of an older version."""

from __future__ import annotations

import msgspec

from cluster.node.admin.report import (
    ChannelReport,
    ConsumerReport,
    ExchangeFlow,
    QueueCounts,
    VhostFlow,
    decode_report,
    encode_report,
)
from cluster.node.amqp.flow import FLOW_WORDS, Flow
from tests.node.admin.client import served
from tests.node.admin.fake_source import NODES, FakeSource, node_report

OLDER = {"flow", "queues_declared_total", "threads", "threads_max", "links", "processors", "entries_read_total"}
"""Fields that came later."""


def test_a_flow_is_told_in_the_order_of_its_words_and_adds_up() -> None:
    flow, twice = Flow(), Flow()
    for number, word in enumerate(FLOW_WORDS, 1):
        setattr(flow, word, number)
    twice.add(flow)
    twice.add(flow)
    assert flow.row() == list(range(1, len(FLOW_WORDS) + 1))
    assert twice.row() == [2 * number for number in flow.row()]


async def test_a_node_of_an_older_version_is_counted_with_what_it_counts() -> None:
    fields = msgspec.to_builtins(node_report("mq-1", confirmed_total=7, delivered_total=5, acknowledged_total=4))
    older = decode_report(msgspec.msgpack.encode({name: fields[name] for name in fields.keys() - OLDER}))
    assert older.flow == ()
    newer = decode_report(encode_report(node_report("mq-0", flow=(1000, 3, 1, 2, 10, 20, 30, 40, 5, 6, 8))))
    async with served(FakeSource(newer, older)) as client:
        stats = (await client.get("overview"))["message_stats"]
        nodes = await client.get("nodes")
    words = ("publish", "confirm", "drop_unroutable", "deliver", "deliver_no_ack", "deliver_get", "get_empty", "ack")
    assert [stats[word] for word in words] == [2000, 10, 2, 15, 20, 105, 5, 12]
    assert [node.get("proc_total") for node in nodes] == [0, 0, None]


def test_the_counts_of_a_queue_are_read_from_shorter_and_longer_rows() -> None:
    assert QueueCounts.of([3, 1]) == QueueCounts(ready=3, unacked=1)
    assert QueueCounts.of([1] * 100) == QueueCounts(*[1] * len(QueueCounts._fields))


async def test_what_went_through_vhosts_and_exchanges_is_the_sum_of_all_nodes() -> None:
    source = FakeSource()
    source.vhosts_flowed = [VhostFlow("/", (2, 1), 100, 10), VhostFlow("/", (1, 0), 50, 5), VhostFlow("x", (9,), 1, 1)]
    source.exchanges_flowed = [ExchangeFlow("/", "amq.fanout", 3, 6), ExchangeFlow("/", "amq.fanout", 1, 2)]
    async with served(source) as client:
        vhost = await client.get("vhosts/%2F")
        exchanges = {document["name"]: document for document in await client.get("exchanges/%2F")}
        fanout = await client.get("exchanges/%2F/amq.fanout")
    assert (vhost["message_stats"]["publish"], vhost["message_stats"]["confirm"]) == (3, 1)
    assert (vhost["recv_oct"], vhost["send_oct"]) == (150, 15)
    assert vhost["cluster_state"] == dict.fromkeys(NODES, "running")
    assert (fanout["message_stats"]["publish_in"], fanout["message_stats"]["publish_out"]) == (4, 8)
    assert "message_stats" not in exchanges["amq.direct"]


async def test_channels_and_consumers_of_an_older_node_are_shown_without_what_it_does_not_tell() -> None:
    channel = ChannelReport("10.0.0.5:1 -> 10.0.0.7:2", 1, "mq-0", "guest", "/", "running", True, 1, 3, 10, 0)
    consumer = ConsumerReport("orders", "/", "t", channel.connection, 1, "mq-0", "guest", True, False, 10)
    source = FakeSource()

    async def channels(_: float) -> list[ChannelReport]:
        return [channel]

    async def consumers(_: float) -> list[ConsumerReport]:
        return [consumer]

    source.channels, source.consumers = channels, consumers  # type: ignore[method-assign, assignment]
    async with served(source) as client:
        shown = (await client.get("channels"))[0]
        detail = await client.get("channels/10.0.0.5%3A1%20-%3E%2010.0.0.7%3A2%20%281%29")
    assert (shown["transactional"], shown["message_stats"]["publish"], shown["acks_uncommitted"]) == (False, 0, 0)
    assert "idle_since" not in shown
    assert [(c["consumer_tag"], c["activity_status"], c["arguments"]) for c in detail["consumer_details"]] == [
        ("t", "up", {})
    ]


async def test_a_node_is_found_under_the_name_that_an_erlang_node_would_have() -> None:
    async with served(FakeSource()) as client:
        assert (await client.get("nodes/rabbit@mq-0"))["name"] == "mq-0"
        assert (await client.ask("/api/nodes/rabbit@mq-9", user="guest:guest")).status == 404


async def test_pages_that_there_are_not_are_refused_in_rabbitmqs_words() -> None:
    async with served(FakeSource()) as client:
        for query, error, reason in (
            ("page=0", "invalid_pagination_parameters", "page number 0, page size undefined"),
            ("page=1&page_size=501", "invalid_pagination_parameters", "page number 1, page size 501"),
            ("page=x", "bad_request", "Pagination parameters are invalid"),
            ("page=9&page_size=2", "page_out_of_range", "Page out of range, page: 9 page size: 2, len: 1"),
        ):
            answer = await client.ask(f"/api/queues?{query}", user="guest:guest")
            assert (answer.status, answer.json()["error"]) == (400, error)
            assert answer.reason.endswith(reason)


async def test_a_list_that_rabbitmq_has_no_pages_of_is_given_whole() -> None:
    async with served(FakeSource()) as client:
        for path in ("bindings", "consumers", "users", "policies"):
            assert isinstance(await client.get(f"{path}?page=1&page_size=1"), list), path
        assert (await client.get("vhosts?page=1"))["items"][0]["name"] == "/"


async def test_one_thing_is_narrowed_to_its_columns_too() -> None:
    async with served(FakeSource()) as client:
        shown = await client.get("queues/%2F/orders?columns=name,message_stats.publish_details.rate")
    assert shown == {"name": "orders", "message_stats": {"publish_details": {"rate": 0.0}}}


async def test_passwords_are_asked_for_in_rabbitmqs_realm() -> None:
    async with served(FakeSource()) as client:
        answer = await client.ask("/api/overview")
    assert answer.headers["www-authenticate"] == 'Basic realm="RabbitMQ Management"'


async def test_what_is_there_is_shown_as_a_feature_that_is_enabled() -> None:
    async with served(FakeSource()) as client:
        assert {flag["state"] for flag in await client.get("feature-flags")} == {"enabled"}
        assert (await client.put("feature-flags/quorum_queue/enable", {})).status == 204
        assert (await client.put("feature-flags/stream_queue/enable", {})).reason == "unsupported"
