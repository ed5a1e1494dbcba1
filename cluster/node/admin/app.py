"""The admin interface as an ASGI application.

Law: /livez, /readyz and /metrics are open and ask only this node; everything under /api wants a user with the tag
`administrator` or, to read, `monitoring`. /livez depends on nothing but the turning event loop: a node that waits
for peers must not be restarted for it.
"""

from __future__ import annotations

import base64
import binascii
import json

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cluster.node.admin.documents import connections_document, queues_document, status_document
from cluster.node.admin.health import not_ready_reason
from cluster.node.admin.problem import ProblemResponse
from cluster.node.admin.source import NodeSource, Refused

READ_TAGS = frozenset({"administrator", "monitoring"})
WRITE_TAGS = frozenset({"administrator"})
BODY_BYTES_MAX = 4096
TIMEOUT_SECONDS_MAX = 4.0
TIMEOUT_SECONDS_DEFAULT = 1.5
"""How long other nodes may take to answer; `?timeout=` asks for another, at most the maximum."""

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="clusterd", charset="UTF-8"'}


def admin_app(source: NodeSource) -> Starlette:
    """The application over a node."""
    api = _Api(source)
    return Starlette(
        routes=[
            Route("/livez", _livez),
            Route("/readyz", api.readyz),
            Route("/metrics", api.metrics),
            Route("/api/cluster/status", api.status),
            Route("/api/queues", api.queues),
            Route("/api/connections", api.connections),
            Route("/api/groups/{group:int}/transfer", api.transfer, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_problem, Refused: _refused_problem, Exception: _fault_problem},
    )


async def _livez(_: Request) -> Response:
    return PlainTextResponse("ok\n")


class _Api:
    """The endpoints that ask the node."""

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

    async def status(self, request: Request) -> Response:
        await self._authorize(request, READ_TAGS)
        return JSONResponse(status_document(await self._source.cluster_report(_timeout_seconds(request))))

    async def queues(self, request: Request) -> Response:
        await self._authorize(request, READ_TAGS)
        return JSONResponse(queues_document(await self._source.queues(_timeout_seconds(request))))

    async def connections(self, request: Request) -> Response:
        await self._authorize(request, READ_TAGS)
        return JSONResponse(connections_document(await self._source.connections(_timeout_seconds(request))))

    async def transfer(self, request: Request) -> Response:
        """`POST {"node": "mq-1"}`: 202 once the group's leader is asked to hand over."""
        await self._authorize(request, WRITE_TAGS)
        node = await _node_in_body(request)
        await self._source.transfer(request.path_params["group"], node)
        return JSONResponse({"group": request.path_params["group"], "node": node}, status_code=202)

    async def _authorize(self, request: Request, tags: frozenset[str]) -> None:
        """Raises HTTPException: 401 without valid credentials, 403 when the user has none of `tags`."""
        credentials = _credentials(request)
        if credentials is None:
            raise HTTPException(401, "a user and a password are needed", headers=_CHALLENGE)
        user, password = credentials
        host = request.client.host if request.client else ""
        held = await self._source.authenticate(user, password, peer_host=host)
        if held is None:
            raise HTTPException(401, "unknown user, wrong password, or not from this address", headers=_CHALLENGE)
        if not held & tags:
            raise HTTPException(403, f"needs a user with one of the tags {', '.join(sorted(tags))}")


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


def _timeout_seconds(request: Request) -> float:
    text = request.query_params.get("timeout")
    if text is None:
        return TIMEOUT_SECONDS_DEFAULT
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= TIMEOUT_SECONDS_MAX:
        raise HTTPException(400, f"timeout: expected seconds within 0..{TIMEOUT_SECONDS_MAX:g}, got {text!r}")
    return seconds


async def _node_in_body(request: Request) -> str:
    """The `node` of a JSON object of at most BODY_BYTES_MAX. Raises HTTPException 400 and 413."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"the body is longer than {BODY_BYTES_MAX} bytes")
    try:
        node = json.loads(body)["node"]
    except (ValueError, KeyError, TypeError):
        node = None
    if not isinstance(node, str):
        raise HTTPException(400, 'expected a body such as {"node": "mq-1"}')
    return node


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ProblemResponse(error.status_code, error.detail, error.headers)


async def _refused_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return ProblemResponse(error.refusal.value, error.text)


async def _fault_problem(_: Request, __: Exception) -> Response:
    """A fault of ours: the server logs the exception, the caller learns that there was one."""
    return ProblemResponse(500, "a fault in the node; its log has the details")
