"""Who may do what: the permission lines of reference/rabbitmq-semantics.md, and limits."""

import pytest

from cluster.broker.catalog.access import check_pattern
from cluster.broker.catalog.commands import (
    ClearPermissions,
    ClearTopicPermissions,
    DeleteExchange,
    DeleteUser,
    PutUser,
    PutVhost,
    SetPermissions,
    SetTopicPermissions,
    SetUserLimit,
    SetVhostLimit,
)
from cluster.broker.catalog.outcome import AccessChanged, Refused
from cluster.broker.errors import BrokerError
from tests.broker.catalog.build import MINE, bind, channel, connection, exchange, link, queue, unbind


def refused(check, *arguments, **named):
    with pytest.raises(BrokerError) as caught:
        check(*arguments, **named)
    return caught.value


def denied(label, user="lim"):
    return channel(403, f"ACCESS_REFUSED - access to {label} refused for user '{user}'")


@pytest.fixture
def lim(cluster):
    """May configure c*, write w*, read r*."""
    return cluster.user("lim", "^c", "^w", "^r")


def test_each_verb_has_its_own_pattern(cluster, lim):
    cluster.ok(queue("zz"), queue("r_q"), exchange("w_x"), exchange("zz"))
    checks = cluster.catalog.checks
    assert refused(checks.declare_queue, lim, queue("zz")) == denied("queue 'zz' in vhost '/'")
    assert checks.declare_queue(lim, queue("c_q")) is None
    assert refused(checks.declare_exchange, lim, exchange("zz")) == denied("exchange 'zz' in vhost '/'")
    assert checks.declare_exchange(lim, exchange("c_x")) is None
    assert refused(checks.delete_queue, lim, "/", "zz", MINE) == denied("queue 'zz' in vhost '/'")
    assert refused(checks.delete_exchange, lim, DeleteExchange("/", "zz")) == denied("exchange 'zz' in vhost '/'")
    assert refused(checks.read_queue, lim, "/", "zz", MINE) == denied("queue 'zz' in vhost '/'")
    checks.read_queue(lim, "/", "r_q", MINE)
    assert refused(checks.publish, lim, "/", "zz", "k") == denied("exchange 'zz' in vhost '/'")
    checks.publish(lim, "/", "w_x", "k")


def test_the_default_exchange_is_judged_as_amq_default(cluster, lim):
    assert refused(cluster.catalog.checks.publish, lim, "/", "", "q") == denied("exchange 'amq.default' in vhost '/'")
    cluster.ok(SetPermissions(lim, "/", "", "^amq.default$", ""))
    cluster.catalog.checks.publish(lim, "/", "", "q")


def test_a_passive_declare_needs_no_permission(cluster, lim):
    cluster.ok(queue("zz"), exchange("zz"))
    assert cluster.catalog.checks.passive_queue("/", "zz", MINE).name == "zz"
    assert cluster.catalog.checks.passive_exchange("/", "zz").name == "zz"


def test_binding_needs_write_on_the_destination_and_read_on_the_source(cluster, lim):
    cluster.ok(queue("w_q"), queue("zz"), exchange("r_x"), exchange("zz"), exchange("w_x"))
    checks = cluster.catalog.checks
    assert checks.bind_queue(lim, bind("r_x", "w_q"), MINE) is True
    assert refused(checks.bind_queue, lim, bind("r_x", "zz"), MINE) == denied("queue 'zz' in vhost '/'")
    assert refused(checks.bind_queue, lim, bind("zz", "w_q"), MINE) == denied("exchange 'zz' in vhost '/'")
    assert refused(checks.unbind_queue, lim, unbind("zz", "w_q"), MINE) == denied("exchange 'zz' in vhost '/'")
    assert checks.bind_exchange(lim, link("r_x", "w_x")) is True
    assert refused(checks.bind_exchange, lim, link("zz", "w_x")) == denied("exchange 'zz' in vhost '/'")
    assert refused(checks.bind_exchange, lim, link("r_x", "zz")) == denied("exchange 'zz' in vhost '/'")


def test_permission_is_judged_before_existence(cluster, lim):
    assert refused(cluster.catalog.checks.publish, lim, "/", "nope", "k") == denied("exchange 'nope' in vhost '/'")
    assert refused(cluster.catalog.checks.read_queue, lim, "/", "nope", MINE) == denied("queue 'nope' in vhost '/'")


def test_dead_letter_and_alternate_exchanges_need_write_on_them_and_read_on_the_own_name(cluster):
    user = cluster.user("lim", ".*", "^ok", "^own")
    checks = cluster.catalog.checks
    assert checks.declare_queue(user, queue("own", x_dead_letter_exchange="ok")) is None
    assert refused(checks.declare_queue, user, queue("own", x_dead_letter_exchange="zz")) == denied(
        "exchange 'zz' in vhost '/'"
    )
    assert refused(checks.declare_queue, user, queue("zz", x_dead_letter_exchange="ok")) == denied(
        "queue 'zz' in vhost '/'"
    )
    assert checks.declare_exchange(user, exchange("own", alternate_exchange="ok")) is None
    assert refused(checks.declare_exchange, user, exchange("own", alternate_exchange="zz")) == denied(
        "exchange 'zz' in vhost '/'"
    )
    assert refused(checks.declare_exchange, user, exchange("zz", alternate_exchange="ok")) == denied(
        "exchange 'zz' in vhost '/'"
    )


def test_topic_permissions_narrow_the_keys_of_a_topic_exchange(cluster):
    user = cluster.user("lim", ".*", ".*", ".*")
    cluster.ok(queue("q"), SetTopicPermissions(user, "/", "amq.topic", "^good\\.", "^seen\\."))
    checks = cluster.catalog.checks
    checks.publish(user, "/", "amq.topic", "good.x")
    checks.publish(user, "/", "amq.direct", "bad.x")
    error = denied("topic 'bad.x' in exchange 'amq.topic' in vhost '/'")
    assert refused(checks.publish, user, "/", "amq.topic", "bad.x") == error
    assert refused(checks.bind_queue, user, bind("amq.topic", "q", "bad.x"), MINE) == error
    assert checks.bind_queue(user, bind("amq.topic", "q", "seen.x"), MINE) is True
    cluster.ok(ClearTopicPermissions(user, "/"))
    checks.publish(user, "/", "amq.topic", "bad.x")


def test_topic_permissions_fill_in_the_users_name(cluster):
    user = cluster.user("a.b", ".*", ".*", ".*")
    cluster.ok(SetTopicPermissions(user, "/", "amq.topic", "^{username}\\.", ".*"))
    cluster.catalog.checks.publish(user, "/", "amq.topic", "a.b.c")
    assert refused(cluster.catalog.checks.publish, user, "/", "amq.topic", "axb.c") == denied(
        "topic 'axb.c' in exchange 'amq.topic' in vhost '/'", user
    )


def test_an_empty_pattern_lets_nothing_through_and_a_broken_one_neither(cluster):
    user = cluster.user("lim", "", "(", "")
    checks = cluster.catalog.checks
    assert refused(checks.declare_queue, user, queue("q")) == denied("queue 'q' in vhost '/'")
    assert refused(checks.publish, user, "/", "amq.direct", "k") == denied("exchange 'amq.direct' in vhost '/'")
    check_pattern("^a.*$")
    assert refused(check_pattern, "(") == channel(406, "PRECONDITION_FAILED - invalid regular expression '('")


def test_opening_a_vhost(cluster, lim):
    checks = cluster.catalog.checks
    counts = {"vhost_connections": 0, "user_connections": 0}
    cluster.ok(PutVhost("v2"))
    checks.open_vhost(lim, "/", **counts)
    assert refused(checks.open_vhost, lim, "nope", **counts) == connection(530, "NOT_ALLOWED - vhost nope not found")
    assert refused(checks.open_vhost, lim, "v2", **counts) == connection(
        530, "NOT_ALLOWED - access to vhost 'v2' refused for user 'lim'"
    )


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (
            SetVhostLimit("v2", "max-connections", 0),
            "access to vhost 'v2' refused for user 'lim': connection limit (0) is reached",
        ),
        (
            SetUserLimit("lim", "max-connections", 0),
            "connection refused for user 'lim': user connection limit (0) is reached",
        ),
    ],
)
def test_limits_of_connections_are_judged_before_the_permissions_on_the_vhost(cluster, lim, limit, text):
    cluster.ok(PutVhost("v2"), limit)
    counts = {"vhost_connections": 0, "user_connections": 0}
    assert refused(cluster.catalog.checks.open_vhost, lim, "v2", **counts) == connection(530, f"NOT_ALLOWED - {text}")


def test_connection_and_channel_limits(cluster, lim):
    checks = cluster.catalog.checks
    counts = {"vhost_connections": 0, "user_connections": 0}
    cluster.ok(SetVhostLimit("/", "max-connections", 0))
    assert refused(checks.open_vhost, lim, "/", **counts) == connection(
        530, "NOT_ALLOWED - access to vhost '/' refused for user 'lim': connection limit (0) is reached"
    )
    cluster.ok(SetVhostLimit("/", "max-connections", -1), SetUserLimit(lim, "max-connections", 0))
    assert refused(checks.open_vhost, lim, "/", **counts) == connection(
        530, "NOT_ALLOWED - connection refused for user 'lim': user connection limit (0) is reached"
    )
    cluster.ok(SetUserLimit(lim, "max-connections", None), SetUserLimit(lim, "max-channels", 1))
    checks.open_vhost(lim, "/", **counts)
    checks.open_channel(lim, user_channels=0)
    assert refused(checks.open_channel, lim, user_channels=1) == connection(
        530,
        "NOT_ALLOWED - number of channels opened for user 'lim' has reached the maximum allowed user limit of (1)",
    )


def test_an_unknown_limit_is_refused(cluster):
    assert cluster.apply(SetVhostLimit("/", "max-fun", 1)) == Refused(
        b"id", channel(406, "PRECONDITION_FAILED - limit 'max-fun' is not one of max-connections, max-queues")
    )


def test_permissions_need_user_and_vhost_and_go_with_them(cluster, lim):
    assert cluster.apply(SetPermissions("nobody", "/", "", "", "")) == Refused(
        b"id", channel(404, "NOT_FOUND - no user 'nobody'")
    )
    assert cluster.apply(SetPermissions(lim, "nope", "", "", "")) == Refused(
        b"id", channel(404, "NOT_FOUND - no vhost 'nope'")
    )
    assert cluster.apply(DeleteUser(lim)).changes == (AccessChanged(lim),)
    cluster.ok(PutUser(lim, "hash"))
    assert refused(cluster.catalog.checks.publish, lim, "/", "w_x", "k") == denied("exchange 'w_x' in vhost '/'")


def test_clearing_permissions_closes_the_vhost_to_the_user(cluster, lim):
    version = cluster.catalog.version
    cluster.ok(ClearPermissions(lim, "/"))
    assert cluster.catalog.version > version
    assert refused(cluster.catalog.checks.open_vhost, lim, "/", vhost_connections=0, user_connections=0) == connection(
        530, "NOT_ALLOWED - access to vhost '/' refused for user 'lim'"
    )


def test_the_broker_itself_needs_no_permission_and_may_use_reserved_names(cluster):
    assert cluster.catalog.checks.declare_queue(None, queue("amq.internal")) is None
    assert cluster.catalog.checks.declare_exchange(None, exchange("amq.internal")) is None
