"""Bindings, as lists from both ends and one by one.

Law: a binding has no name; `properties_key` is made of its routing key and, if it has arguments, a digest of them,
and stands for it in a path; no two bindings of a pair share one. Without arguments it is RabbitMQ's, to the letter:
tools keep it, or make it themselves. The binding of every queue to the default exchange is listed and cannot be
changed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias
from urllib.parse import quote, quote_plus

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.arguments import read_arguments
from cluster.broker.catalog.definitions import Binding
from cluster.broker.catalog.ids import NO_CONNECTION
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.exchanges import known_exchange
from cluster.node.admin.api.fields import Document, field, short
from cluster.node.admin.api.queues import known_queue
from cluster.node.admin.api.values import to_json, to_table

Placed: TypeAlias = tuple[str, Binding]
"""vhost, binding"""
_DIGEST_OCTETS = 9


def properties_key(binding: Binding) -> str:
    # `~` alone stands for no routing key, and before a digest it parts the two.
    key = quote_plus(binding.routing_key).replace("~", "%7E")
    if not binding.arguments:
        return key or "~"
    digest = sha256(binding.arguments).digest()[:_DIGEST_OCTETS]
    return f"{key}~{base64.urlsafe_b64encode(digest).decode()}"


def binding_document(placed: Placed) -> Document:
    vhost, binding = placed
    return {
        "source": binding.source,
        "vhost": vhost,
        "destination": binding.destination,
        "destination_type": "queue" if binding.to_queue else "exchange",
        "routing_key": binding.routing_key,
        "arguments": to_json(read_arguments(binding.arguments).values),
        "properties_key": properties_key(binding),
    }


def read_binding(
    vhost: str, source: str, destination: str, document: Document, *, to_queue: bool
) -> c.BindQueue | c.BindExchange:
    """Raises BadField."""
    routing_key = short(field(document, "routing_key", str, ""), "'routing_key'")
    table = to_table(field(document, "arguments", dict, {}))
    if to_queue:
        return c.BindQueue(vhost, source, destination, routing_key, table)
    return c.BindExchange(vhost, destination, source, routing_key, table)


def _default(queue: str) -> Binding:
    return Binding("", True, queue, queue, b"")


def _ordered(vhost: Vhost, bindings: Iterable[Binding]) -> list[Placed]:
    return [(vhost.name, binding) for binding in sorted(bindings)]


def bindings_of(vhost: Vhost) -> list[Placed]:
    """Every binding that clients made, in order."""
    return _ordered(vhost, [b for source in vhost.outgoing.values() for b in source])


async def bindings(asked: Asked) -> Response:
    vhosts = [asked.vhost()] if "vhost" in asked.request.path_params else asked.caller.vhosts()
    found: list[Placed] = []
    for vhost in vhosts:
        found += _ordered(vhost, [_default(name) for name in vhost.queues])
        found += bindings_of(vhost)
    return await listed(asked, found, binding_document)


async def from_exchange(asked: Asked) -> Response:
    vhost = asked.vhost()
    exchange = known_exchange(asked, vhost, asked.part("name"))
    leaving = vhost.outgoing[exchange.name] if exchange.name else [_default(name) for name in vhost.queues]
    return await listed(asked, _ordered(vhost, leaving), binding_document)


async def to_exchange(asked: Asked) -> Response:
    vhost = asked.vhost()
    exchange = known_exchange(asked, vhost, asked.part("name"))
    return await listed(asked, _ordered(vhost, vhost.bindings_to_exchange(exchange.name)), binding_document)


async def to_queue(asked: Asked) -> Response:
    vhost = asked.vhost()
    queue = known_queue(vhost, asked.part("name"))
    coming = [_default(queue.name), *vhost.bindings_to_queue(queue.name)]
    return await listed(asked, _ordered(vhost, coming), binding_document)


def _between(asked: Asked, vhost: Vhost) -> tuple[str, str, bool, list[Placed]]:
    """Source, destination, whether that is a queue, and the bindings between them. Raises HTTPException 404."""
    source = known_exchange(asked, vhost, asked.part("source")).name
    destination = asked.part("destination")
    kind = asked.request.path_params["kind"]
    if kind not in {"q", "e"}:
        raise HTTPException(404, "a binding leads to a queue (q) or an exchange (e)")
    is_queue = kind == "q"
    if is_queue:
        known_queue(vhost, destination)
        coming = list(vhost.bindings_to_queue(destination)) + ([_default(destination)] if not source else [])
    else:
        destination = known_exchange(asked, vhost, destination).name
        coming = list(vhost.bindings_to_exchange(destination))
    return source, destination, is_queue, _ordered(vhost, [b for b in coming if b.source == source])


def _named(asked: Asked, placed: list[Placed]) -> Binding:
    """By its key, encoded once more for the path, as it has to be, or not; or by its routing key, if it has no
    arguments. Raises HTTPException 404."""
    sent, decoded = asked.request.path_params["properties"], asked.part("properties")
    for wanted in (decoded, sent):
        for _, binding in placed:
            if properties_key(binding) == wanted:
                return binding
    for _, binding in placed:
        if binding.routing_key == decoded and not binding.arguments and "~" not in decoded:
            return binding
    raise HTTPException(404, f"no binding '{asked.part('properties')}' between them")


async def between(asked: Asked) -> Response:
    return await listed(asked, _between(asked, asked.vhost())[3], binding_document)


async def one(asked: Asked) -> Response:
    vhost = asked.vhost()
    return JSONResponse(binding_document((vhost.name, _named(asked, _between(asked, vhost)[3]))))


async def bind(asked: Asked) -> Response:
    """`{"routing_key", "arguments"}`; 201 with the place of the binding."""
    vhost = asked.vhost_to_change()
    source, destination, is_queue, _ = _between(asked, vhost)
    command = read_binding(vhost.name, source, destination, await asked.body(), to_queue=is_queue)
    checks, user = asked.catalog.checks, asked.caller.name
    if isinstance(command, c.BindQueue):
        needed = checks.bind_queue(user, command, NO_CONNECTION)
    else:
        needed = checks.bind_exchange(user, command)
    if needed:
        await asked.node.operations.submit(command)
    made = Binding(source, is_queue, destination, command.routing_key, read_arguments(command.arguments).table)
    place = f"{asked.request.scope['path']}/{quote(properties_key(made), safe='')}"
    return Response(status_code=201, headers={"Location": place})


async def unbind(asked: Asked) -> Response:
    vhost = asked.vhost_to_change()
    source, destination, is_queue, placed = _between(asked, vhost)
    binding = _named(asked, placed)
    checks, user = asked.catalog.checks, asked.caller.name
    command: c.UnbindQueue | c.UnbindExchange
    if is_queue:
        command = c.UnbindQueue(vhost.name, source, destination, binding.routing_key, binding.arguments)
        needed = checks.unbind_queue(user, command, NO_CONNECTION)
    else:
        command = c.UnbindExchange(vhost.name, destination, source, binding.routing_key, binding.arguments)
        needed = checks.unbind_exchange(user, command)
    if needed:
        await asked.node.operations.submit(command)
    return nothing()


_BETWEEN = "/api/bindings/{vhost}/e/{source}/{kind}/{destination}"

ENDPOINTS = (
    Endpoint("GET", "/api/bindings", MANAGEMENT, bindings),
    Endpoint("GET", "/api/bindings/{vhost}", MANAGEMENT, bindings),
    Endpoint("GET", "/api/exchanges/{vhost}/{name}/bindings/source", MANAGEMENT, from_exchange),
    Endpoint("GET", "/api/exchanges/{vhost}/{name}/bindings/destination", MANAGEMENT, to_exchange),
    Endpoint("GET", "/api/queues/{vhost}/{name}/bindings", MANAGEMENT, to_queue),
    Endpoint("GET", _BETWEEN, MANAGEMENT, between),
    Endpoint("POST", _BETWEEN, MANAGEMENT, bind),
    Endpoint("GET", _BETWEEN + "/{properties}", MANAGEMENT, one),
    Endpoint("DELETE", _BETWEEN + "/{properties}", MANAGEMENT, unbind),
)
