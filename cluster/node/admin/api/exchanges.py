"""Exchanges under /api/exchanges.

Law: what changes something is judged as the same method over AMQP, by whose permissions `Caller` says. In a path the
default exchange is called `amq.default`.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.definitions import ExchangeDefinition
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.fields import Document, field, short_name
from cluster.node.admin.api.values import to_json, to_table

DEFAULT_EXCHANGE = "amq.default"


def exchange_document(exchange: ExchangeDefinition) -> Document:
    return {
        "name": exchange.name,
        "vhost": exchange.vhost,
        "type": exchange.type,
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": to_json(exchange.arguments.values),
    }


def _document(asked: Asked, exchange: ExchangeDefinition) -> Document:
    """With the name of its policy, where there is one. Its vhost may have gone since it was found."""
    vhost = asked.catalog.vhosts.get(exchange.vhost)
    policy = vhost.policies.matching_exchange(exchange, operator=False) if vhost else None
    return exchange_document(exchange) | ({"policy": policy.name} if policy else {})


def read_exchange(vhost: str, name: str, document: Document) -> c.DeclareExchange:
    """Raises BadField."""
    return c.DeclareExchange(
        vhost,
        short_name(name, "an exchange"),
        field(document, "type", str, "direct"),
        field(document, "durable", bool, True),
        field(document, "auto_delete", bool, False),
        field(document, "internal", bool, False),
        to_table(field(document, "arguments", dict, {})),
    )


def known_exchange(asked: Asked, vhost: Vhost, name: str) -> ExchangeDefinition:
    """Raises HTTPException 404."""
    exchange = vhost.exchanges.get("" if name == DEFAULT_EXCHANGE else name)
    if exchange is None:
        raise HTTPException(404, f"no exchange '{name}' in vhost '{vhost.name}'")
    return exchange


async def exchanges(asked: Asked) -> Response:
    vhosts = [asked.vhost()] if "vhost" in asked.request.path_params else asked.caller.vhosts()
    every = [exchange for vhost in vhosts for _, exchange in sorted(vhost.exchanges.items())]
    flows = {} if asked.flag("disable_stats") else await _flows(asked)
    return await listed(
        asked, every, lambda exchange: _document(asked, exchange) | _stats(asked, exchange, flows), in_pages=True
    )


async def exchange(asked: Asked) -> Response:
    """Which messages went which way is not kept: see `queues.queue`."""
    known = known_exchange(asked, asked.vhost(), asked.part("name"))
    document = _document(asked, known) | _stats(asked, known, await _flows(asked))
    return found(asked, document | {"incoming": [], "outgoing": []})


async def _flows(asked: Asked) -> dict[tuple[str, str], tuple[int, int]]:
    """(vhost, exchange) -> published to it, and copies that went to queues; of those that were published to."""
    flows: dict[tuple[str, str], tuple[int, int]] = {}
    for flow in await asked.node.exchange_flows(asked.timeout_seconds()):
        came, went = flows.get((flow.vhost, flow.name), (0, 0))
        flows[flow.vhost, flow.name] = came + flow.publish_in, went + flow.publish_out
    return flows


def _stats(asked: Asked, exchange: ExchangeDefinition, flows: Mapping[tuple[str, str], tuple[int, int]]) -> Document:
    """None of one that nobody published to, as in RabbitMQ."""
    key = (exchange.vhost, exchange.name)
    if key not in flows:
        return {}
    came, went = flows[key]
    return {"message_stats": asked.counted("msg_rates", ("exchange", key), {"publish_in": came, "publish_out": went})}


async def put(asked: Asked) -> Response:
    """`{"type", "durable", "auto_delete", "internal", "arguments"}`."""
    vhost, name = asked.vhost_to_change(), asked.part("name")
    command = read_exchange(vhost.name, name, await asked.body())
    existing = asked.catalog.checks.declare_exchange(asked.caller.name, command)
    if existing is None:
        await asked.node.operations.submit(command)
    return changed(new=existing is None)


async def delete(asked: Asked) -> Response:
    """`?if-unused=true` refuses while something is bound to it."""
    vhost = asked.vhost_to_change()
    known = known_exchange(asked, vhost, asked.part("name"))
    command = c.DeleteExchange(vhost.name, known.name, asked.flag("if-unused"))
    if asked.catalog.checks.delete_exchange(asked.caller.remover, command):
        await asked.node.operations.submit(command)
    return nothing()


ENDPOINTS = (
    Endpoint("GET", "/api/exchanges", MANAGEMENT, exchanges),
    Endpoint("GET", "/api/exchanges/{vhost}", MANAGEMENT, exchanges),
    Endpoint("GET", "/api/exchanges/{vhost}/{name}", MANAGEMENT, exchange),
    Endpoint("PUT", "/api/exchanges/{vhost}/{name}", MANAGEMENT, put),
    Endpoint("DELETE", "/api/exchanges/{vhost}/{name}", MANAGEMENT, delete),
)
