"""The Queue lines of reference/rabbitmq-semantics.md: code, scope and whole text."""

import pytest

from cluster.amqp.field_table import Float32, Int8, Int64, Timestamp
from cluster.broker.catalog import queue_rules
from cluster.broker.catalog.commands import ConnectionGone, DeleteQueue, NodeGone, SetVhostLimit
from cluster.broker.catalog.ids import declared_at, queue_id
from cluster.broker.catalog.outcome import QueueDeclared, QueueDeleted, Refused
from cluster.broker.errors import BrokerError
from tests.broker.catalog.build import MINE, OTHERS, bind, channel, exchange, queue, unbind

LOCKED = channel(
    405,
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'p_excl' in vhost '/'. It could be originally"
    " declared on another connection or the exclusive property value does not match that of the original"
    " declaration.",
)


def refused(check, *arguments, **named):
    with pytest.raises(BrokerError) as caught:
        check(*arguments, **named)
    return caught.value


def declare_refused(cluster, command):
    """Both before it is proposed and when it is applied."""
    error = refused(cluster.catalog.checks.declare_queue, "guest", command)
    assert cluster.apply(command) == Refused(b"id", error)
    return error


def failed(detail):
    return channel(406, f"PRECONDITION_FAILED - {detail}")


@pytest.mark.parametrize(
    ("first", "again", "detail"),
    [
        ({}, {"durable": False}, "'durable' for {}: received 'false' but current is 'true'"),
        ({}, {"auto_delete": True}, "'auto_delete' for {}: received 'true' but current is 'false'"),
        (
            {"x_message_ttl": 1000},
            {"x_message_ttl": 5},
            "'x-message-ttl' for {}: received '5' but current is '1000'",
        ),
        (
            {},
            {"x_message_ttl": 5},
            "'x-message-ttl' for {}: received the value '5' of type 'signedint' but current is none",
        ),
        (
            {"x_message_ttl": 1000},
            {},
            "'x-message-ttl' for {}: received none but current is the value '1000' of type 'signedint'",
        ),
        (
            {"x_queue_type": "quorum"},
            {},
            "'x-queue-type' for {}: received none but current is the value 'quorum' of type 'longstr'",
        ),
        (
            {"x_queue_type": "quorum"},
            {"x_queue_type": "classic"},
            "'x-queue-type' for {}: received 'classic' but current is 'quorum'",
        ),
        (
            {},
            {"x_single_active_consumer": True},
            "'x-single-active-consumer' for {}: received the value 'true' of type 'bool' but current is none",
        ),
        (
            {},
            {"x_max_length": Int64(7)},
            "'x-max-length' for {}: received the value '7' of type 'long' but current is none",
        ),
    ],
)
def test_redeclaring_otherwise_closes_the_channel_with_406(cluster, first, again, detail):
    cluster.ok(queue("p_d", **first))
    error = declare_refused(cluster, queue("p_d", **again))
    assert error == failed("inequivalent arg " + detail.format("queue 'p_d' in vhost '/'"))


def test_redeclaring_the_same_needs_no_proposal(cluster):
    made = cluster.ok(queue("q", x_message_ttl=1000, x_unknown="a"))
    version = cluster.catalog.version
    for same in (
        queue("q", x_message_ttl=1000, x_unknown="a"),
        queue("q", x_message_ttl=Int64(1000), x_unknown="b"),
        queue("q", x_message_ttl=1000, owner=OTHERS),
    ):
        assert cluster.catalog.checks.declare_queue("guest", same) is made
        assert cluster.ok(same) is made
    assert cluster.catalog.version == version


def test_an_exclusive_queue_is_locked_for_every_other_connection(cluster):
    made = cluster.ok(queue("p_excl", exclusive=True, owner=MINE), exchange("x"), queue("p_excl", exclusive=True))
    checks = cluster.catalog.checks
    assert declare_refused(cluster, queue("p_excl", exclusive=True, owner=OTHERS)) == LOCKED
    assert declare_refused(cluster, queue("p_excl", owner=OTHERS)) == LOCKED
    assert declare_refused(cluster, queue("p_excl", owner=MINE)) == LOCKED, "the property does not match"
    assert refused(checks.passive_queue, "/", "p_excl", OTHERS) == LOCKED
    assert refused(checks.read_queue, "guest", "/", "p_excl", OTHERS) == LOCKED
    assert refused(checks.delete_queue, "guest", "/", "p_excl", OTHERS) == LOCKED
    assert refused(checks.bind_queue, "guest", bind("x", "p_excl"), OTHERS) == LOCKED
    cluster.ok(bind("x", "p_excl"))
    assert refused(checks.unbind_queue, "guest", unbind("x", "p_excl"), OTHERS) == LOCKED
    assert checks.declare_queue("guest", queue("p_excl", exclusive=True, owner=MINE)) == made
    assert checks.passive_queue("/", "p_excl", MINE) == checks.read_queue("guest", "/", "p_excl", MINE) == made


def test_declaring_a_shared_queue_as_exclusive_is_locked(cluster):
    cluster.ok(queue("p_excl"))
    assert declare_refused(cluster, queue("p_excl", exclusive=True)) == LOCKED


def test_reserved_names_are_refused(cluster):
    checks = cluster.catalog.checks
    assert refused(checks.declare_queue, "guest", queue("amq.foo")) == channel(
        403, "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'"
    )
    assert refused(checks.passive_queue, "/", "amq.foo", MINE) == channel(
        404, "NOT_FOUND - no queue 'amq.foo' in vhost '/'"
    )
    assert checks.declare_queue("guest", queue("amq.gen-abc"), server_named=True) is None


def test_a_missing_queue_is_404_for_everything_that_uses_one(cluster):
    cluster.ok(exchange("x"))
    checks = cluster.catalog.checks
    error = channel(404, "NOT_FOUND - no queue 'nope' in vhost '/'")
    assert refused(checks.passive_queue, "/", "nope", MINE) == error
    assert refused(checks.read_queue, "guest", "/", "nope", MINE) == error
    assert refused(checks.bind_queue, "guest", bind("x", "nope"), MINE) == error
    assert cluster.apply(bind("x", "nope")) == Refused(b"id", error)


def test_binding_names_the_missing_exchange_first(cluster):
    error = channel(404, "NOT_FOUND - no exchange 'nope' in vhost '/'")
    assert refused(cluster.catalog.checks.bind_queue, "guest", bind("nope", "nope"), MINE) == error


def test_deleting_a_missing_queue_is_good(cluster):
    assert cluster.catalog.checks.delete_queue("guest", "/", "nope", MINE) is None
    assert cluster.ok(DeleteQueue("/", "nope")) is None


def test_delete_texts_for_what_only_the_shard_knows(cluster):
    made = cluster.ok(queue("p_d"))
    assert queue_rules.not_empty(made) == failed("queue 'p_d' in vhost '/' not empty")
    assert queue_rules.in_use(made) == failed("queue 'p_d' in vhost '/' in use")
    assert queue_rules.in_exclusive_use(made) == channel(
        403, "ACCESS_REFUSED - queue 'p_d' in vhost '/' in exclusive use"
    )


def test_unbinding_a_missing_binding_or_exchange_or_queue_is_good(cluster):
    cluster.ok(queue("q"), exchange("x"))
    for command in (unbind("x", "q", "k"), unbind("nope", "q"), unbind("x", "nope"), unbind("nope", "nope")):
        assert cluster.catalog.checks.unbind_queue("guest", command, MINE) is False
        cluster.ok(command)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"x_message_ttl": -1}, "'x-message-ttl' for {}: {{value_negative,-1}}"),
        ({"x_message_ttl": "5"}, "'x-message-ttl' for {}: \"expected integer, got longstr\""),
        ({"x_message_ttl": Float32(1)}, "'x-message-ttl' for {}: \"expected integer, got float\""),
        ({"x_message_ttl": Timestamp(1)}, "'x-message-ttl' for {}: \"expected integer, got timestamp\""),
        ({"x_message_ttl": True}, "'x-message-ttl' for {}: \"expected integer, got bool\""),
        ({"x_message_ttl": 2**39}, "'x-message-ttl' for {}: {{value_too_large,549755813888}}"),
        ({"x_expires": 0}, "'x-expires' for {}: {{value_zero,0}}"),
        ({"x_expires": -1}, "'x-expires' for {}: {{value_negative,-1}}"),
        ({"x_max_length": -1}, "'x-max-length' for {}: {{value_negative,-1}}"),
        ({"x_max_length_bytes": "a"}, "'x-max-length-bytes' for {}: \"expected integer, got longstr\""),
        ({"x_max_priority": 256}, "'x-max-priority' for {}: {{max_value_exceeded,256}}"),
        ({"x_max_priority": Int8(-1)}, "'x-max-priority' for {}: {{value_negative,-1}}"),
        ({"x_overflow": "a"}, "'x-overflow' for {}: invalid_overflow"),
        ({"x_overflow": 1}, "'x-overflow' for {}: {{unacceptable_type,signedint}}"),
        ({"x_queue_leader_locator": "a"}, "'x-queue-leader-locator' for {}: invalid_queue_locator_arg"),
        ({"x_dead_letter_routing_key": "k"}, "'x-dead-letter-routing-key' for {}: routing_key_but_no_dlx_defined"),
        ({"x_queue_type": "bogus"}, "'x-queue-type' for {}: \"unsupported queue type 'bogus'\""),
        ({"x_queue_mode": "a"}, "'x-queue-mode' for {}: \"unsupported queue mode 'a'\""),
        ({"x_queue_version": 3}, "'x-queue-version' for {}: \"unsupported queue version '3'\""),
        ({"x_single_active_consumer": 1}, "'x-single-active-consumer' for {}: {{unacceptable_type,signedint}}"),
        ({"x_delivery_limit": -1}, "'x-delivery-limit' for {}: {{value_negative,-1}}"),
        ({"x_quorum_initial_group_size": 0}, "'x-quorum-initial-group-size' for {}: {{value_zero,0}}"),
    ],
)
def test_a_bad_argument_closes_the_channel_with_406(cluster, arguments, complaint):
    error = declare_refused(cluster, queue("q", **arguments))
    assert error == failed("invalid arg " + complaint.format("queue 'q' in vhost '/'"))


def test_a_dead_letter_exchange_must_be_a_string(cluster):
    assert declare_refused(cluster, queue("q", x_dead_letter_exchange=5)) == failed(
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
    )


def test_good_arguments_are_taken(cluster):
    made = cluster.ok(
        queue(
            "q",
            x_expires=1000,
            x_message_ttl=0,
            x_dead_letter_exchange="",
            x_dead_letter_routing_key="k",
            x_max_length=0,
            x_overflow="reject-publish-dlx",
            x_max_priority=255,
            x_queue_mode="lazy",
            x_delivery_limit=2,
            x_something_else=[1, {"a": None}],
        )
    )
    assert made.arguments.values["x-something-else"] == [1, {"a": None}]


def test_the_vhosts_queue_limit_is_told_with_406(cluster):
    cluster.ok(SetVhostLimit("/", "max-queues", 1), queue("c_a"))
    assert declare_refused(cluster, queue("c_d")) == failed(
        "cannot declare queue 'c_d': queue limit in vhost '/' (1) is reached"
    )
    cluster.ok(queue("c_a"), DeleteQueue("/", "c_a"), queue("c_d"))


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"durable": False}, "non-durable"),
        ({"exclusive": True}, "exclusive-owner"),
        ({"auto_delete": True}, "auto-delete"),
    ],
)
def test_a_quorum_queue_refuses_properties_it_cannot_have(cluster, properties, name):
    assert declare_refused(cluster, queue("q", x_queue_type="quorum", **properties)) == failed(
        f"invalid property '{name}' for queue 'q' in vhost '/'"
    )


def test_a_quorum_queue_cannot_be_server_named(cluster):
    command = queue("amq.gen-1", x_queue_type="quorum")
    assert refused(cluster.catalog.checks.declare_queue, "guest", command, server_named=True) == failed(
        "Cannot declare a server-named queue for type rabbit_quorum_queue"
    )


@pytest.mark.parametrize(("argument", "value"), [("x-max-priority", 5), ("x-queue-mode", "lazy")])
def test_a_quorum_queue_refuses_arguments_of_classic_ones(cluster, argument, value):
    command = queue("q", **{"x-queue-type": "quorum", argument: value})
    assert declare_refused(cluster, command) == failed(
        f"invalid arg '{argument}' for queue 'q' in vhost '/' of queue type rabbit_quorum_queue"
    )


@pytest.mark.parametrize("argument", ["x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size"])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_new_queue_refuses_arguments_of_streams_and_one_in_the_log_stays(cluster, kind, argument):
    """Measured: RabbitMQ 3.10.8 refuses them, for both types."""
    command = queue("q", **{"x-queue-type": kind, argument: 5})
    assert refused(cluster.catalog.checks.declare_queue, "guest", command) == failed(
        f"invalid arg '{argument}' for queue 'q' in vhost '/' of queue type rabbit_{kind}_queue"
    )
    made = cluster.ok(command)
    assert cluster.catalog.checks.declare_queue("guest", command) == made


def test_a_quorum_queue_takes_reject_publish_dlx(cluster):
    made = cluster.ok(queue("q", x_queue_type="quorum", x_overflow="reject-publish-dlx"))
    assert made.type == "quorum"


def test_a_queue_is_replicated_when_it_is_durable_and_not_exclusive(cluster):
    kept = cluster.ok(queue("kept", auto_delete=True))
    transient = cluster.ok(queue("transient", durable=False, home=2, incarnation=4))
    exclusive = cluster.ok(queue("exclusive", exclusive=True, owner=MINE, home=3, incarnation=5))
    assert (kept.replicated, kept.shard, kept.home, kept.incarnation) == (True, 1, 0, 0)
    assert (transient.replicated, transient.home, transient.incarnation) == (False, 2, 4)
    assert (exclusive.durable, exclusive.owner, exclusive.home) == (False, MINE, 3)


def test_queues_are_spread_over_the_shards(cluster):
    shards = [cluster.ok(queue(f"q{n}")).shard for n in range(7)]
    assert shards == [1, 2, 3, 1, 2, 3, 1]
    cluster.ok(DeleteQueue("/", "q1"))
    assert cluster.ok(queue("q7")).shard == 2


def test_a_queue_id_is_the_log_index_of_its_declaration(cluster):
    made = cluster.ok(queue("q"))
    assert made.id == cluster.index == declared_at(made.id)
    assert declared_at(queue_id(77, 5)) == 77


def test_delete_spares_a_queue_that_was_declared_anew(cluster):
    old = cluster.ok(queue("q"))
    cluster.ok(DeleteQueue("/", "q", old.id))
    new = cluster.ok(queue("q"))
    assert cluster.ok(DeleteQueue("/", "q", old.id)) is None
    assert cluster.catalog.queue("/", "q") is new
    assert cluster.ok(DeleteQueue("/", "q")) is new


def test_deleting_a_queue_takes_its_bindings_and_auto_delete_exchanges(cluster):
    cluster.ok(
        exchange("x", "fanout"),
        exchange("y", "topic", auto_delete=True),
        queue("q"),
        queue("other"),
        bind("x", "q"),
        bind("x", "other"),
        bind("y", "q", "a"),
        bind("y", "q", "b"),
    )
    outcome = cluster.apply(DeleteQueue("/", "q"))
    assert outcome.changes == (QueueDeleted(outcome.value),)
    assert cluster.routed("x", "") == ["other"]
    assert cluster.catalog.exchange("/", "y") is None
    cluster.ok(queue("q"))
    assert cluster.routed("x", "") == ["other"], "bindings do not come back"


def test_a_node_takes_its_transient_queues_with_it(cluster):
    kept = cluster.ok(queue("kept"), queue("here", durable=False, home=2), queue("kept"))
    lost = [cluster.ok(queue(f"t{n}", durable=False, home=1, incarnation=n)) for n in (1, 2, 3)]
    outcome = cluster.apply(NodeGone(1, 2))
    assert outcome.changes == (QueueDeleted(lost[0]), QueueDeleted(lost[1]))
    assert sorted(cluster.catalog.vhosts["/"].queues) == ["here", "kept", "t3"]
    assert cluster.catalog.queue("/", "kept") is kept


def test_nothing_is_declared_in_a_life_that_is_over(cluster):
    cluster.ok(NodeGone(1, 2))
    assert cluster.apply(queue("late", durable=False, home=1, incarnation=2)) == Refused(
        b"id", failed("node 1 lost queue 'late' in vhost '/' before it was declared")
    )
    cluster.ok(queue("late", durable=False, home=1, incarnation=3), NodeGone(1, 1))
    assert cluster.catalog.queue("/", "late") is not None


def test_a_connection_takes_its_exclusive_queues_with_it(cluster):
    first = cluster.ok(queue("a", exclusive=True, owner=MINE))
    second = cluster.ok(queue("b", exclusive=True, owner=MINE))
    cluster.ok(queue("c", exclusive=True, owner=OTHERS), queue("d", durable=False, owner=MINE))
    outcome = cluster.apply(ConnectionGone(MINE))
    assert outcome.changes == (QueueDeleted(first), QueueDeleted(second))
    assert sorted(cluster.catalog.queues.values(), key=lambda q: q.name) == [
        cluster.catalog.queue("/", "c"),
        cluster.catalog.queue("/", "d"),
    ]


def test_a_declaration_is_told_to_whoever_keeps_queues(cluster):
    outcome = cluster.apply(queue("q"))
    assert outcome.changes == (QueueDeclared(outcome.value),)
    assert cluster.apply(queue("q")).changes == ()


def test_the_default_exchange_knows_every_queue_by_name(cluster):
    made = cluster.ok(queue("q"))
    assert cluster.catalog.route("/", "", "q").queues == (made,)
    assert cluster.catalog.route("/", "", "nope").queues == ()
    other = cluster.ok(queue("r"))
    assert cluster.catalog.route("/", "", "q", more_keys=["r", "nope", "q"]).queues == (made, other)
