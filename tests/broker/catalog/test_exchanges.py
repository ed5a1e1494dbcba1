"""The Exchange lines of reference/rabbitmq-semantics.md: code, scope and whole text."""

import pytest

from cluster.broker.catalog.commands import BindExchange, BindQueue, DeclareExchange, DeleteExchange, UnbindQueue
from cluster.broker.catalog.outcome import Refused
from cluster.broker.errors import BrokerError
from tests.broker.catalog.build import MINE, bind, channel, connection, exchange, link, queue, unbind, unlink


def refused(check, *arguments):
    with pytest.raises(BrokerError) as caught:
        check(*arguments)
    return caught.value


def declare_refused(cluster, command, user="guest"):
    """Both before it is proposed and when it is applied."""
    error = refused(cluster.catalog.checks.declare_exchange, user, command)
    assert cluster.apply(command) == Refused(b"id", error)
    return error


def test_declaring_an_unknown_type_closes_the_connection_with_503(cluster):
    error = declare_refused(cluster, exchange("x", "bogus"))
    assert error == connection(503, "COMMAND_INVALID - unknown exchange type 'bogus'")


@pytest.mark.parametrize(
    ("again", "detail"),
    [
        (exchange("p_x", "topic"), "'type' for {}: received 'topic' but current is 'direct'"),
        (exchange("p_x", durable=False), "'durable' for {}: received 'false' but current is 'true'"),
        (exchange("p_x", auto_delete=True), "'auto_delete' for {}: received 'true' but current is 'false'"),
        (exchange("p_x", internal=True), "'internal' for {}: received 'true' but current is 'false'"),
        (
            exchange("p_x", alternate_exchange="z"),
            "'alternate-exchange' for {}: received the value 'z' of type 'longstr' but current is none",
        ),
    ],
)
def test_redeclaring_otherwise_closes_the_channel_with_406(cluster, again, detail):
    cluster.ok(exchange("p_x"))
    text = "PRECONDITION_FAILED - inequivalent arg " + detail.format("exchange 'p_x' in vhost '/'")
    assert declare_refused(cluster, again) == channel(406, text)


def test_redeclaring_without_the_alternate_or_with_another_says_what_was(cluster):
    cluster.ok(exchange("p_x", alternate_exchange="z"))
    prefix = "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'p_x' in vhost '/': "
    assert declare_refused(cluster, exchange("p_x")) == channel(
        406, prefix + "received none but current is the value 'z' of type 'longstr'"
    )
    assert declare_refused(cluster, exchange("p_x", alternate_exchange="y")) == channel(
        406, prefix + "received 'y' but current is 'z'"
    )


def test_redeclaring_the_same_needs_no_proposal_and_other_arguments_do_not_count(cluster):
    made = cluster.ok(exchange("x", "headers"))
    version = cluster.catalog.version
    assert cluster.catalog.checks.declare_exchange("guest", exchange("x", "headers", x_whatever=1)) == made
    assert cluster.ok(exchange("x", "headers")) == made
    assert cluster.catalog.version == version


def test_reserved_names_are_refused_but_predeclared_ones_may_be_redeclared(cluster):
    checks = cluster.catalog.checks
    assert refused(checks.declare_exchange, "guest", exchange("amq.foo")) == channel(
        403, "ACCESS_REFUSED - exchange name 'amq.foo' contains reserved prefix 'amq.*'"
    )
    assert checks.declare_exchange("guest", exchange("amq.topic", "topic")).name == "amq.topic"


def test_nothing_can_be_done_to_the_default_exchange(cluster):
    cluster.ok(queue("q"), exchange("x"))
    checks = cluster.catalog.checks
    error = channel(403, "ACCESS_REFUSED - operation not permitted on the default exchange")
    assert declare_refused(cluster, exchange("")) == error
    assert refused(checks.passive_exchange, "/", "") == error
    assert refused(checks.delete_exchange, "guest", DeleteExchange("/", "")) == error
    assert refused(checks.bind_queue, "guest", bind("", "q"), MINE) == error
    assert refused(checks.unbind_queue, "guest", unbind("", "q"), MINE) == error
    assert refused(checks.bind_exchange, "guest", link("", "x")) == error
    assert refused(checks.bind_exchange, "guest", link("x", "")) == error
    assert refused(checks.unbind_exchange, "guest", unlink("x", "")) == error
    for command in (DeleteExchange("/", ""), bind("", "q"), link("", "x")):
        assert cluster.apply(command) == Refused(b"id", error)


def test_passive_declare_of_a_missing_exchange_is_404(cluster):
    assert refused(cluster.catalog.checks.passive_exchange, "/", "nope") == channel(
        404, "NOT_FOUND - no exchange 'nope' in vhost '/'"
    )


def test_deleting_a_missing_exchange_is_good_and_needs_no_proposal(cluster):
    assert cluster.catalog.checks.delete_exchange("guest", DeleteExchange("/", "nope")) is False
    cluster.ok(DeleteExchange("/", "nope"))


def test_system_exchanges_cannot_be_deleted(cluster):
    command = DeleteExchange("/", "amq.direct")
    error = channel(403, "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed")
    assert refused(cluster.catalog.checks.delete_exchange, "guest", command) == error
    assert cluster.apply(command) == Refused(b"id", error)


def test_delete_if_unused_is_refused_while_something_is_bound(cluster):
    cluster.ok(exchange("p_x"), queue("q"), bind("p_x", "q"))
    command = DeleteExchange("/", "p_x", if_unused=True)
    error = channel(406, "PRECONDITION_FAILED - exchange 'p_x' in vhost '/' in use")
    assert refused(cluster.catalog.checks.delete_exchange, "guest", command) == error
    assert cluster.apply(command) == Refused(b"id", error)
    cluster.ok(unbind("p_x", "q"))
    assert cluster.catalog.checks.delete_exchange("guest", command) is True
    cluster.ok(command)
    assert cluster.catalog.exchange("/", "p_x") is None


def test_an_exchange_that_is_only_bound_to_others_is_unused(cluster):
    cluster.ok(exchange("a"), exchange("b"), link("a", "b"), DeleteExchange("/", "b", if_unused=True))
    assert not cluster.catalog.vhosts["/"].outgoing["a"]


def test_bindings_between_exchanges_name_the_missing_side_with_404(cluster):
    cluster.ok(exchange("here"))
    for command, missing in ((link("here", "gone"), "gone"), (link("gone", "here"), "gone"), (link("a", "b"), "a")):
        error = channel(404, f"NOT_FOUND - no exchange '{missing}' in vhost '/'")
        assert refused(cluster.catalog.checks.bind_exchange, "guest", command) == error
        assert cluster.apply(command) == Refused(b"id", error)


def test_unbinding_exchanges_that_are_not_there_is_good(cluster):
    cluster.ok(exchange("here"))
    for command in (unlink("here", "gone"), unlink("gone", "here"), unlink("a", "b")):
        assert not cluster.catalog.checks.unbind_exchange("guest", command)


def test_every_vhost_has_the_predeclared_exchanges(cluster):
    exchanges = cluster.catalog.vhosts["/"].exchanges
    assert {name: (x.type, x.internal) for name, x in exchanges.items()} == {
        "": ("direct", False),
        "amq.direct": ("direct", False),
        "amq.fanout": ("fanout", False),
        "amq.topic": ("topic", False),
        "amq.headers": ("headers", False),
        "amq.match": ("headers", False),
        "amq.rabbitmq.trace": ("topic", True),
    }
    assert all(x.durable and not x.auto_delete for x in exchanges.values())


@pytest.mark.parametrize(
    ("x_match", "text"),
    [
        (
            "bogus",
            'Invalid x-match field value <<"bogus">>; expected all, any, all-with-x, or any-with-x',
        ),
        (1, "Invalid x-match field type signedint (value 1); expected longstr"),
    ],
)
def test_a_bad_x_match_is_refused_with_406(cluster, x_match, text):
    cluster.ok(queue("q"))
    command = bind("amq.headers", "q", **{"x-match": x_match})
    error = channel(406, f"PRECONDITION_FAILED - {text}")
    assert refused(cluster.catalog.checks.bind_queue, "guest", command, MINE) == error
    assert cluster.apply(command) == Refused(b"id", error)


def test_an_absent_x_match_means_all(cluster):
    cluster.ok(queue("q"), bind("amq.headers", "q", a=1, b=2))
    assert cluster.routed("amq.headers", "", {"a": 1}) == []
    assert cluster.routed("amq.headers", "", {"a": 1, "b": 2}) == ["q"]


def test_an_alternate_must_be_a_string(cluster):
    assert declare_refused(cluster, exchange("x", alternate_exchange=5)) == channel(
        406,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'",
    )


def test_the_alternate_declared_takes_what_leads_nowhere(cluster):
    cluster.ok(exchange("x", alternate_exchange="amq.fanout"), queue("lost"), bind("amq.fanout", "lost"))
    assert cluster.routed("x", "k") == ["lost"]


def test_publishing_to_a_missing_exchange_is_404_and_to_an_internal_one_403(cluster):
    cluster.ok(exchange("p_int", internal=True))
    for check in (
        lambda name: cluster.catalog.checks.publish("guest", "/", name, "k"),
        lambda name: cluster.catalog.route("/", name, "k"),
    ):
        assert refused(check, "nope") == channel(404, "NOT_FOUND - no exchange 'nope' in vhost '/'")
        assert refused(check, "p_int") == channel(
            403, "ACCESS_REFUSED - cannot publish to internal exchange 'p_int' in vhost '/'"
        )
    assert cluster.catalog.route_dead_letter("/", "p_int", ["k"]) is not None
    assert cluster.catalog.route_dead_letter("/", "nope", ["k"]) is None


def test_an_auto_delete_exchange_goes_with_its_last_binding(cluster):
    cluster.ok(exchange("x", auto_delete=True), queue("q"), bind("x", "q", "a"), bind("x", "q", "b"))
    cluster.ok(unbind("x", "q", "a"))
    assert cluster.catalog.exchange("/", "x") is not None
    cluster.ok(unbind("x", "q", "b"))
    assert cluster.catalog.exchange("/", "x") is None


def test_auto_delete_runs_up_a_chain_of_exchanges(cluster):
    cluster.ok(
        *[exchange(name, "fanout", auto_delete=True) for name in "abc"],
        exchange("stays", "fanout"),
        queue("q"),
        link("a", "b"),
        link("b", "c"),
        link("stays", "a"),
        bind("c", "q"),
        unbind("c", "q"),
    )
    assert [name for name in ("a", "b", "c", "stays") if cluster.catalog.exchange("/", name)] == ["stays"]


def test_auto_delete_survives_cycles_and_bindings_to_itself(cluster):
    cluster.ok(
        *[exchange(name, "fanout", auto_delete=True) for name in "ab"],
        link("a", "b"),
        link("b", "a"),
        link("a", "a"),
        DeleteExchange("/", "a"),
    )
    assert cluster.catalog.exchange("/", "a") is None
    assert cluster.catalog.exchange("/", "b") is None


def test_binding_what_is_bound_and_unbinding_what_is_not_need_no_proposal(cluster):
    cluster.ok(exchange("x"), queue("q"))
    checks = cluster.catalog.checks
    assert checks.bind_queue("guest", bind("x", "q", "k"), MINE) is True
    cluster.ok(bind("x", "q", "k"))
    version = cluster.catalog.version
    assert checks.bind_queue("guest", bind("x", "q", "k"), MINE) is False
    cluster.ok(bind("x", "q", "k"), unbind("x", "q", "other"))
    assert cluster.catalog.version == version
    assert checks.unbind_queue("guest", unbind("x", "q", "other"), MINE) is False
    assert checks.unbind_queue("guest", unbind("x", "q", "k"), MINE) is True


def test_a_binding_is_known_by_its_arguments_whatever_their_order(cluster):
    cluster.ok(exchange("x"), queue("q"))
    cluster.ok(bind("x", "q", "k", a=1, b=2), unbind("x", "q", "k", b=2, a=1))
    assert cluster.routed("x", "k") == []
    cluster.ok(bind("x", "q", "k"), bind("x", "q", "k", a=1), unbind("x", "q", "k"))
    assert cluster.routed("x", "k") == ["q"], "the other binding is still there"


def test_an_unknown_vhost_closes_the_connection_with_530(cluster):
    for command in (
        DeclareExchange("nope", "x", "direct", True, False, False),
        BindQueue("nope", "x", "q", "k"),
        UnbindQueue("nope", "x", "q", "k"),
        BindExchange("nope", "x", "y", "k"),
    ):
        assert cluster.apply(command) == Refused(b"id", connection(530, "NOT_ALLOWED - vhost nope not found"))
