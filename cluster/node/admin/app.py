"""The admin interface as an ASGI application.

Law: the console's static files, /livez, /readyz and /metrics are open and ask only this node; everything under /api
wants a user with a tag that the endpoint names, but for OPTIONS, which tells the methods of a path. /livez depends on
nothing but the turning event loop: a node that waits for peers must not be restarted for it.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.broker.errors import ACCESS_REFUSED, NOT_FOUND, BrokerError
from cluster.node.admin.api import (
    bindings,
    checks,
    cluster,
    definitions,
    exchanges,
    limits,
    maintenance,
    members,
    messages,
    nodes,
    parameters,
    permissions,
    policies,
    queues,
    sessions,
    users,
    vhosts,
)
from cluster.node.admin.api.answers import BadPage
from cluster.node.admin.api.asked import Asked, Endpoint, read_body
from cluster.node.admin.api.caller import ADMINISTRATOR, MONITORING, Caller
from cluster.node.admin.api.fields import BadField
from cluster.node.admin.definitions.parse import explanation
from cluster.node.admin.documents import status_document
from cluster.node.admin.health import not_ready_reason
from cluster.node.admin.json_text import read_json
from cluster.node.admin.problem import ProblemResponse
from cluster.node.admin.rates import Rates
from cluster.node.admin.samples import Samples
from cluster.node.admin.source import NodeSource, Refusal, Refused
from cluster.node.admin.web import web_routes

TRANSFER_BYTES_MAX = 4096

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="RabbitMQ Management"'}
"""RabbitMQ's realm: the checks of Nagios give their password to no other."""
_BROKER_STATUS = {ACCESS_REFUSED: 403, NOT_FOUND: 404}
"""Other refusals of the broker are the caller's bad request."""


def admin_app(source: NodeSource) -> Starlette:
    """The application over a node."""
    probes = _Probes(source)
    rates, samples = Rates(trio.current_time), Samples(time.time)
    endpoints = (
        Endpoint("GET", "/api/cluster/status", MONITORING, _status),
        Endpoint("POST", "/api/cluster/verify", MONITORING, _verify),
        Endpoint("POST", "/api/groups/{group}/transfer", ADMINISTRATOR, _transfer),
        *cluster.ENDPOINTS,
        *nodes.ENDPOINTS,
        *checks.ENDPOINTS,
        *members.ENDPOINTS,
        *vhosts.ENDPOINTS,
        *users.ENDPOINTS,
        *permissions.ENDPOINTS,
        *policies.ENDPOINTS,
        *limits.ENDPOINTS,
        *parameters.ENDPOINTS,
        *exchanges.ENDPOINTS,
        *queues.ENDPOINTS,
        *bindings.ENDPOINTS,
        *messages.ENDPOINTS,
        *sessions.ENDPOINTS,
        *definitions.ENDPOINTS,
        *maintenance.ENDPOINTS,
    )
    app = Starlette(
        routes=[
            Route("/livez", _livez),
            Route("/readyz", probes.readyz),
            Route("/metrics", probes.metrics),
            *web_routes(),
            *_routes({(e.path, e.method): _answered(source, e, rates, samples) for e in endpoints}),
        ],
        middleware=[Middleware(_RawPath)],
        exception_handlers={
            HTTPException: _http_problem,
            Refused: _refused_problem,
            BrokerError: _broker_problem,
            BadField: _field_problem,
            Exception: _fault_problem,
        },
    )
    app.router.redirect_slashes = False
    return app


class _RawPath:
    """Lets routes see the path as it was sent, so that an encoded slash does not cut a name in two, but without a slash
    at the end, which some clients add."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["raw_path"].decode("ascii", "replace")
            scope = {**scope, "path": path.removesuffix("/") or "/"}
        await self._app(scope, receive, send)


Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


def _routes(answers: Mapping[tuple[str, str], Answer]) -> Iterable[Route]:
    """One for each path, so that a method that it does not have, and OPTIONS, are told all that it has."""
    by_path: dict[str, dict[str, Answer]] = {}
    for (path, method), answer in answers.items():
        by_path.setdefault(path, {})[method] = answer
    for path, of_it in by_path.items():
        yield Route(path, _by_method(of_it), methods=[*of_it, "OPTIONS"])


def _by_method(answers: Mapping[str, Answer]) -> Answer:
    allowed = [*(["HEAD"] if "GET" in answers else []), *answers, "OPTIONS"]

    async def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={"Allow": ", ".join(allowed)})
        return await answers["GET" if request.method == "HEAD" else request.method](request)

    return answer


async def _livez(_: Request) -> Response:
    return PlainTextResponse("ok\n")


class _Probes:
    """What is open to everyone."""

    def __init__(self, source: NodeSource) -> None:
        self._source = source

    async def readyz(self, _: Request) -> Response:
        reason = not_ready_reason(self._source.local_report())
        if reason is None:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"{reason}\n", status_code=503)

    async def metrics(self, _: Request) -> Response:
        # A node that nobody scrapes does without the library.
        from cluster.node.admin.metrics import CONTENT_TYPE, metrics_text

        return Response(metrics_text(self._source.local_report()), headers={"Content-Type": CONTENT_TYPE})


def _answered(source: NodeSource, endpoint: Endpoint, rates: Rates, samples: Samples) -> Answer:
    """The endpoint behind its tags."""

    async def answer(request: Request) -> Response:
        caller = await _caller(source, request)
        caller.require(endpoint.tags)
        if endpoint.changes_a_vhost:
            await source.operations.catch_up()
        return await endpoint.handler(Asked(request, caller, source, rates, samples))

    return answer


async def _caller(source: NodeSource, request: Request) -> Caller:
    """Raises HTTPException 401 without valid credentials, Refused while this node cannot know any user."""
    credentials = _credentials(request)
    if credentials is None:
        raise HTTPException(401, "a user and a password are needed", headers=_CHALLENGE)
    user, password = credentials
    host = request.client.host if request.client else ""
    tags = await source.authenticate(user, password, peer_host=host)
    if tags is None:
        reason = None if source.catalog.users else not_ready_reason(source.local_report())
        if reason is not None:
            # The password may be right: whoever waits for the node is not to look for another one.
            raise Refused(Refusal.UNAVAILABLE, reason)
        raise HTTPException(401, "unknown user, wrong password, or not from this address", headers=_CHALLENGE)
    return Caller(user, tags, source.catalog, password)


def _credentials(request: Request) -> tuple[str, str] | None:
    """User and password of an `Authorization: Basic` header (RFC 7617); None if there is no sound one."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


async def _status(asked: Asked) -> Response:
    return JSONResponse(status_document(await asked.node.cluster_report(asked.timeout_seconds())))


async def _verify(asked: Asked) -> Response:
    return JSONResponse(await asked.node.verify())


async def _transfer(asked: Asked) -> Response:
    """`POST {"node": "mq-1"}`: 202 once the group's leader is asked to hand over."""
    number = asked.part("group")
    if not (number.isascii() and number.isdecimal()):
        raise HTTPException(404, f"there is no group {number}")
    body = await read_body(asked.request, TRANSFER_BYTES_MAX)
    try:
        node = read_json(body)["node"]
    except (ValueError, KeyError, TypeError):
        node = None
    if not isinstance(node, str):
        raise HTTPException(400, 'expected a body such as {"node": "mq-1"}')
    await asked.node.transfer(int(number), node)
    return JSONResponse({"group": int(number), "node": node}, status_code=202)


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    word = error.error if isinstance(error, BadPage) else ""
    return ProblemResponse(error.status_code, error.detail, error.headers, word)


async def _refused_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return ProblemResponse(error.refusal.value, error.text)


async def _broker_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, BrokerError)
    return ProblemResponse(_BROKER_STATUS.get(error.code, 400), explanation(error))


async def _field_problem(_: Request, error: Exception) -> Response:
    return ProblemResponse(400, str(error))


async def _fault_problem(_: Request, __: Exception) -> Response:
    """A fault of ours: the server logs the exception, the caller learns that there was one."""
    return ProblemResponse(500, "a fault in the node; its log has the details")
