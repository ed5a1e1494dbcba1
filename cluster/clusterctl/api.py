"""The way to a node: HTTP with Basic authentication, and several nodes to try.

Law: a look takes at most `timeout_seconds` altogether, a change `CHANGE_TIMEOUT_SECONDS`: longer than a node without
quorum waits before it says so. A node that does not answer is skipped for the next one; an answer, whatever it says,
is final. Nothing is retried after it may have been carried out.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

TIMEOUT_SECONDS = 5.0
CHANGE_TIMEOUT_SECONDS = 12.0
_VERIFY_TIMEOUT_SECONDS = 300.0
_PEER_TIMEOUT_SECONDS = 1.5
_ANSWER_BYTES_MAX = 256 << 20
_NO_CONTENT = frozenset({201, 204})


class Unreachable(Exception):
    """No node answered; `lines` has one line for each that was tried."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


class ApiError(Exception):
    """A node answered with an error; the text is its one line."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class UrlError(ValueError):
    """Not an address of a node."""


class Node:
    """The address of one node's admin interface, from `http://host:port` or `https://host:port`."""

    __slots__ = ("host", "is_sealed", "port", "url")

    def __init__(self, url: str) -> None:
        try:
            parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
            port = parts.port or 15672
        except ValueError as error:
            raise UrlError(f"{url}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UrlError(f"{url}: expected http://host:port or https://host:port")
        self.url = url
        self.is_sealed = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port


def trust(ca: str, *, insecure: bool) -> ssl.SSLContext:
    """Which nodes to believe over https: whom an authority in the file `ca` certifies ("": the machine's), or any.

    Raises UrlError for a file that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise UrlError(f"{ca}: {error.strerror or error}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Api:
    """Requests to the first node that answers."""

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        user: str,
        password: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        """`trusted` None: the machine's authorities."""
        self._nodes = nodes
        self._trusted = trusted
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Connection": "close"}
        self._timeout_seconds = timeout_seconds

    def status(self) -> dict[str, Any]:
        """`GET /api/cluster/status`; the asked node gives the others a part of the time."""
        wait = min(_PEER_TIMEOUT_SECONDS, self._timeout_seconds / 2)
        document: dict[str, Any] = self._json("GET", f"/api/cluster/status?timeout={wait:g}")
        return document

    def queues(self) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = self._json("GET", "/api/queues")
        return documents

    def connections(self) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = self._json("GET", "/api/connections")
        return documents

    def get(self, *parts: str, query: str = "") -> Any:
        """`GET /api/part/...`; each part is percent-encoded."""
        return self._json("GET", _path(parts) + (f"?{query}" if query else ""))

    def put(self, *parts: str, document: dict[str, Any]) -> None:
        self._json("PUT", _path(parts), json.dumps(document), timeout_seconds=CHANGE_TIMEOUT_SECONDS)

    def post(self, *parts: str, document: Any, query: str = "", timeout_seconds: float) -> Any:
        """None when the node has nothing to say."""
        path = _path(parts) + (f"?{query}" if query else "")
        return self._json("POST", path, json.dumps(document), timeout_seconds=timeout_seconds)

    def delete(self, *parts: str, query: str = "", headers: Mapping[str, str] | None = None) -> None:
        path = _path(parts) + (f"?{query}" if query else "")
        self._json("DELETE", path, headers=headers, timeout_seconds=CHANGE_TIMEOUT_SECONDS)

    def verify(self) -> dict[str, Any]:
        """`POST /api/cluster/verify`: whether all replicas hold the same."""
        document: dict[str, Any] = self._json("POST", "/api/cluster/verify", timeout_seconds=_VERIFY_TIMEOUT_SECONDS)
        return document

    def transfer(self, group: int, node: str) -> None:
        self._json("POST", f"/api/groups/{group}/transfer", json.dumps({"node": node}))

    def readiness(self) -> tuple[bool, str]:
        """Whether the node is ready, and its one line."""
        status, body = self._exchange("GET", "/readyz", None)
        if status not in (200, 503):
            raise ApiError(status, _detail(status, body))
        return status == 200, body.decode(errors="replace").strip()

    def _json(
        self,
        method: str,
        path: str,
        body: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        status, answer = self._exchange(method, path, body, headers or {}, timeout_seconds)
        if status >= 300:
            raise ApiError(status, _detail(status, answer))
        if status in _NO_CONTENT and not answer:
            return None
        try:
            return json.loads(answer)
        except ValueError:
            raise ApiError(status, "the answer is not JSON: is this the admin port of a node?") from None

    def _exchange(
        self,
        method: str,
        path: str,
        body: str | None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> tuple[int, bytes]:
        deadline = time.monotonic() + (timeout_seconds or self._timeout_seconds)
        sent = {**self._headers, **(headers or {})}
        lines: list[str] = []
        for index, node in enumerate(self._nodes):
            share = (deadline - time.monotonic()) / (len(self._nodes) - index)
            try:
                return self._ask(node, method, path, body, sent, time.monotonic() + max(0.05, share))
            except _NotSent as error:
                lines.append(f"{node.url}: {error}")
            except (OSError, http.client.HTTPException) as error:
                lines.append(f"{node.url}: {_reason(error)}")
                if method != "GET":
                    break
        raise Unreachable(lines)

    def _ask(
        self, node: Node, method: str, path: str, body: str | None, headers: Mapping[str, str], deadline: float
    ) -> tuple[int, bytes]:
        """One exchange. _NotSent when the request surely did not arrive, OSError or HTTPException else."""
        patience = deadline - time.monotonic()
        if node.is_sealed:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                node.host, node.port, timeout=patience, context=self._trusted
            )
        else:
            connection = http.client.HTTPConnection(node.host, node.port, timeout=patience)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise _NotSent(_reason(error)) from None
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            answer = bytearray()
            while part := response.read(65536):
                answer += part
                if time.monotonic() > deadline:
                    raise TimeoutError
                if len(answer) > _ANSWER_BYTES_MAX:
                    raise http.client.HTTPException(f"the answer is longer than {_ANSWER_BYTES_MAX} bytes")
            return response.status, bytes(answer)
        finally:
            connection.close()


class _NotSent(Exception):
    """The connection was not made."""


def _path(parts: Sequence[str]) -> str:
    return "/api/" + "/".join([urllib.parse.quote(part, safe="") for part in parts])


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _detail(status: int, answer: bytes) -> str:
    """The `detail` of a problem document, or the status."""
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {status}"
