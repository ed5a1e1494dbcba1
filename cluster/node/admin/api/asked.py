"""One request to the management interface, and the table of what can be asked.

Law: a path is cut at its slashes before it is percent-decoded, so that `%2F` is a vhost and no slash. A body is a
JSON object of a bounded size, or an error that says what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import trio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.caller import Caller
from cluster.node.admin.api.fields import Document
from cluster.node.admin.api.multipart import FORM, read_form_part
from cluster.node.admin.json_text import read_json
from cluster.node.admin.rates import Rates
from cluster.node.admin.samples import SAMPLES_MAX, Samples, Span
from cluster.node.admin.source import NodeSource

OBJECT_BYTES_MAX = 1 << 20
"""Of a body that describes one thing."""
DOCUMENT_BYTES_MAX = 64 << 20
"""Of a body with definitions."""
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)
TIMEOUT_SECONDS_MAX = 4.0
TIMEOUT_SECONDS_DEFAULT = 1.5
"""How long other nodes may take to answer; `?timeout=` asks for another, at most the maximum."""


class Asked:
    """A request of an authenticated caller."""

    def __init__(self, request: Request, caller: Caller, node: NodeSource, rates: Rates, samples: Samples) -> None:
        self.request = request
        self.caller = caller
        self.node = node
        self._rates = rates
        self._samples = samples

    @property
    def catalog(self) -> Catalog:
        return self.node.catalog

    def part(self, name: str) -> str:
        """A part of the path, decoded. Raises HTTPException 400."""
        try:
            return unquote(self.request.path_params[name], errors="strict")
        except UnicodeDecodeError:
            raise HTTPException(400, f"the {name} in the path is not UTF-8") from None

    def vhost(self) -> Vhost:
        """The one in the path, to look at. Raises HTTPException 404, 403."""
        return self.caller.vhost(self.part("vhost"))

    def vhost_to_change(self) -> Vhost:
        """Raises HTTPException 404, 403."""
        return self.caller.vhost_to_change(self.part("vhost"))

    def flag(self, name: str) -> bool:
        """`?name=true`."""
        return self.request.query_params.get(name, "").lower() in {"true", "1", "yes"}

    def counted(self, of: str, thing: Hashable, values: Mapping[str, int]) -> Document:
        """What only grows, with rates; and with samples, where the query has `{of}_age` and `{of}_incr`.

        Raises HTTPException 400.
        """
        return self._sampled(of, thing, values, self._rates.counted(thing, values))

    def levels(self, of: str, thing: Hashable, values: Mapping[str, int]) -> Document:
        """The same of what goes up and down."""
        return self._sampled(of, thing, values, self._rates.detailed(thing, values))

    def _sampled(self, of: str, thing: Hashable, values: Mapping[str, int], document: Document) -> Document:
        span = self._span(of)
        if span is not None:
            for name, samples in self._samples.since(thing, values, span).items():
                document[name] |= samples
        return document

    def _span(self, of: str) -> Span | None:
        query = self.request.query_params
        age, step = query.get(f"{of}_age"), query.get(f"{of}_incr")
        if age is None or step is None:
            return None
        if not all(_SECONDS.fullmatch(text) for text in (age, step)) or not 0 < int(step) <= int(age):
            raise HTTPException(400, f"{of}_age, {of}_incr: expected whole seconds, got {age!r} and {step!r}")
        if int(age) > SAMPLES_MAX * int(step):
            raise HTTPException(400, f"{of}_age, {of}_incr: more than {SAMPLES_MAX} samples")
        return Span(int(age), int(step))

    def timeout_seconds(self) -> float:
        """Raises HTTPException 400."""
        text = self.request.query_params.get("timeout")
        if text is None:
            return TIMEOUT_SECONDS_DEFAULT
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= TIMEOUT_SECONDS_MAX:
            raise HTTPException(400, f"timeout: expected seconds within 0..{TIMEOUT_SECONDS_MAX:g}, got {text!r}")
        return seconds

    async def body(self, size_max: int = OBJECT_BYTES_MAX, *, form_part: str | None = None) -> Document:
        """The JSON object in the body, or in that part of it if it is a form; {} for an empty one.

        Raises HTTPException 400, 413.
        """
        data = await read_body(self.request, size_max)
        content_type = self.request.headers.get("content-type", "")
        if form_part is not None and content_type.startswith(FORM):
            part = await trio.to_thread.run_sync(read_form_part, content_type, data, form_part)
            if part is None:
                raise HTTPException(400, f"the form has no part {form_part!r}")
            data = part
        if not data.strip():
            return {}
        try:
            if len(data) > OBJECT_BYTES_MAX:
                document = await trio.to_thread.run_sync(read_json, data)
            else:
                document = read_json(data)
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise HTTPException(400, "the body is not a JSON object")
        return document


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """What they give, in order: nodes that do not answer one of them are waited for once."""
    given: list[Any] = [None] * len(calls)

    async def wait(number: int, call: Awaitable[Any]) -> None:
        given[number] = await call

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(wait, number, call)
    return given


async def read_body(request: Request, size_max: int) -> bytes:
    """Raises HTTPException 413; 400 when the caller breaks off, which nobody will read."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > size_max:
                raise HTTPException(413, f"the body is longer than {size_max} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the body breaks off") from None
    return bytes(body)


Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers `method path`, and the tags of which a caller needs one."""

    method: str
    path: str
    tags: frozenset[str]
    handler: Handler

    @property
    def changes_a_vhost(self) -> bool:
        """Then it is judged by a copy of the catalog that is up to date."""
        return self.method != "GET" and "{vhost}" in self.path
