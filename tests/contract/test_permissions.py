"""What a user may do, and how many there may be of what it does: permissions and limits, set on any node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pika
import pytest

from cluster.amqp import methods as m
from tests.cluster.harness import LocalCluster
from tests.contract.admin import Admin
from tests.contract.clients import Clients, channel_refused, settle, take
from tests.contract.wire import Wire

_numbers = count(1)


@pytest.fixture
def vhost(admin: Admin) -> Iterator[str]:
    """A vhost of the test's own."""
    name = f"v{next(_numbers)}"
    admin.put("vhosts", name)
    yield name
    admin.delete("vhosts", name)


@pytest.fixture
def lim(admin: Admin, vhost: str) -> Iterator[str]:
    """A user who may do everything in that vhost, password "secret"."""
    name = f"lim{next(_numbers)}"
    admin.put("users", name, password="secret", tags="")
    admin.put("permissions", vhost, name, configure=".*", write=".*", read=".*")
    yield name
    admin.delete("users", name)


def entering(user: str, vhost: str) -> dict[str, Any]:
    """Options of a connection."""
    return {"credentials": pika.PlainCredentials(user, "secret"), "virtual_host": vhost}


def assert_kept_out(clients: Clients, user: str, vhost: str, text: str) -> None:
    with Wire(clients.nodes.port(clients.next_node())) as wire:
        wire.log_in(user, "secret")
        wire.tune()
        wire.call(m.ConnectionOpen(vhost), 0)
        wire.assert_connection_closed(530, f"NOT_ALLOWED - {text}")


def test_a_user_without_permissions_does_not_get_into_the_vhost(
    clients: Clients, admin: Admin, vhost: str, lim: str
) -> None:
    clients.connect(**entering(lim, vhost))
    admin.delete("permissions", vhost, lim)
    assert_kept_out(clients, lim, vhost, f"access to vhost '{vhost}' refused for user '{lim}'")


@pytest.mark.parametrize("limit", [0, 2])
def test_a_vhosts_connections_are_counted_over_all_nodes(
    clients: Clients, admin: Admin, vhost: str, lim: str, limit: int
) -> None:
    admin.put("vhost-limits", vhost, "max-connections", value=limit)
    text = f"access to vhost '{vhost}' refused for user '{lim}': connection limit ({limit}) is reached"
    held = [clients.connect(**entering(lim, vhost)) for _ in range(limit)]
    for _ in range(3):
        assert_kept_out(clients, lim, vhost, text)
    for connection in held[:1]:
        connection.close()
        clients.connect(**entering(lim, vhost))


@pytest.mark.parametrize("limit", [0, 2])
def test_a_users_connections_are_counted_over_all_nodes(
    clients: Clients, admin: Admin, vhost: str, lim: str, limit: int
) -> None:
    admin.put("user-limits", lim, "max-connections", value=limit)
    text = f"connection refused for user '{lim}': user connection limit ({limit}) is reached"
    for _ in range(limit):
        clients.connect(**entering(lim, vhost))
    for _ in range(3):
        assert_kept_out(clients, lim, vhost, text)
    admin.put("user-limits", lim, "max-connections", value=-1)
    clients.connect(**entering(lim, vhost))


def test_a_users_channels_are_counted_over_all_nodes(
    clients: Clients, admin: Admin, nodes: LocalCluster, vhost: str, lim: str
) -> None:
    admin.put("user-limits", lim, "max-channels", value=2)
    clients.channel(0, **entering(lim, vhost))
    text = f"number of channels opened for user '{lim}' has reached the maximum allowed user limit of (2)"
    with Wire(nodes.port(1)) as wire:
        wire.open(1, user=lim, password="secret", vhost=vhost)
        wire.call(m.ChannelOpen(), 2)
        wire.assert_connection_closed(530, f"NOT_ALLOWED - {text}")
    clients.channel(2, **entering(lim, vhost))


def test_a_limit_of_channels_holds_for_the_next_channel_of_who_is_connected(
    clients: Clients, admin: Admin, nodes: LocalCluster, vhost: str, lim: str
) -> None:
    text = f"number of channels opened for user '{lim}' has reached the maximum allowed user limit of (1)"
    with Wire(nodes.port(clients.next_node())) as wire:
        wire.open(1, user=lim, password="secret", vhost=vhost)
        admin.put("user-limits", lim, "max-channels", value=1)
        wire.call(m.ChannelOpen(), 2)
        wire.assert_connection_closed(530, f"NOT_ALLOWED - {text}")


def test_a_vhosts_queues_are_limited(clients: Clients, admin: Admin, vhost: str, lim: str) -> None:
    channel = clients.channel(**entering(lim, vhost))
    channel.queue_declare("one")
    admin.put("vhost-limits", vhost, "max-queues", value=1)
    channel.queue_declare("one")
    text = f"PRECONDITION_FAILED - cannot declare queue 'two': queue limit in vhost '{vhost}' (1) is reached"
    with channel_refused(channel, 406, text):
        channel.queue_declare("two")


ACTS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "declare queue": ("queue 'no-q'", lambda c: c.queue_declare("no-q")),
    "delete queue": ("queue 'no-q'", lambda c: c.queue_delete("no-q")),
    "consume": ("queue 'no-q'", lambda c: c.basic_consume("no-q", lambda *_: None)),
    "get": ("queue 'no-q'", lambda c: c.basic_get("no-q")),
    "purge": ("queue 'no-q'", lambda c: c.queue_purge("no-q")),
    "bind to queue": ("queue 'no-q'", lambda c: c.queue_bind("no-q", "ok", "key")),
    "bind from exchange": ("exchange 'no-x'", lambda c: c.queue_bind("ok", "no-x", "key")),
    "unbind": ("queue 'no-q'", lambda c: c.queue_unbind("no-q", "ok", "key")),
    "bind exchange": ("exchange 'no-x'", lambda c: c.exchange_bind("no-x", "ok", "key")),
    "declare exchange": ("exchange 'no-x'", lambda c: c.exchange_declare("no-x")),
    "delete exchange": ("exchange 'no-x'", lambda c: c.exchange_delete("no-x")),
    "publish": ("exchange 'no-x'", lambda c: (c.basic_publish("no-x", "ok", b""), settle(c))),
    "publish to the default exchange": (
        "exchange 'amq.default'",
        lambda c: (c.basic_publish("", "ok", b""), settle(c)),
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_the_permissions_do_not_name_closes_the_channel_with_403(
    clients: Clients, admin: Admin, vhost: str, lim: str, act: str
) -> None:
    owner = clients.channel(virtual_host=vhost)
    owner.exchange_declare("no-x")
    owner.queue_declare("no-q")
    owner.exchange_declare("ok")
    owner.queue_declare("ok")
    admin.put("permissions", vhost, lim, configure="^ok", write="^ok", read="^ok")
    channel = clients.channel(**entering(lim, vhost))
    channel.queue_declare("no-q", passive=True)
    channel.exchange_declare("no-x", passive=True)
    label, attempt = ACTS[act]
    text = f"ACCESS_REFUSED - access to {label} in vhost '{vhost}' refused for user '{lim}'"
    with channel_refused(channel, 403, text):
        attempt(channel)


def test_an_answer_to_a_reply_address_needs_write_permission_on_the_default_exchange(
    clients: Clients, admin: Admin, vhost: str, lim: str
) -> None:
    asking = clients.channel(virtual_host=vhost)
    asking.queue_declare("requests")
    asking.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True)
    asking.basic_publish("", "requests", b"?", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    address = take(asking, "requests")[1].reply_to
    assert address is not None
    admin.put("permissions", vhost, lim, configure=".*", write="^(?!amq.default)", read=".*")
    answering = clients.channel(**entering(lim, vhost))
    text = f"ACCESS_REFUSED - access to exchange 'amq.default' in vhost '{vhost}' refused for user '{lim}'"
    with channel_refused(answering, 403, text):
        answering.basic_publish("", address, b"!")
        settle(answering)


def test_topic_permissions_narrow_what_may_be_published_and_bound(
    clients: Clients, admin: Admin, vhost: str, lim: str
) -> None:
    admin.put("topic-permissions", vhost, lim, exchange="amq.topic", write="^good", read="^good")
    place = f"topic 'bad.x' in exchange 'amq.topic' in vhost '{vhost}'"
    text = f"ACCESS_REFUSED - access to {place} refused for user '{lim}'"
    channel = clients.channel(**entering(lim, vhost))
    channel.queue_declare("q")
    channel.queue_bind("q", "amq.topic", "good.#")
    with channel_refused(channel, 403, text):
        channel.queue_bind("q", "amq.topic", "bad.x")
    channel = clients.channel(**entering(lim, vhost))
    channel.confirm_delivery()
    channel.basic_publish("amq.topic", "good.x", b"", mandatory=True)
    channel.basic_publish("amq.direct", "bad.x", b"")
    with channel_refused(channel, 403, text):
        channel.basic_publish("amq.topic", "bad.x", b"")


def test_a_permission_that_is_taken_away_is_missed_by_open_connections_at_once(
    clients: Clients, admin: Admin, vhost: str, lim: str
) -> None:
    channel = clients.channel(**entering(lim, vhost))
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", "key", b"")
    admin.put("permissions", vhost, lim, configure=".*", write="^$", read=".*")
    text = f"ACCESS_REFUSED - access to exchange 'amq.direct' in vhost '{vhost}' refused for user '{lim}'"
    with channel_refused(channel, 403, text):
        channel.basic_publish("amq.direct", "key", b"")
