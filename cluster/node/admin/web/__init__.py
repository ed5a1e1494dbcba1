"""The console: three static files that a browser turns into tables of what /api answers.

Law: nothing here is made on the fly and nothing is secret, so it is served to everyone; who looks at the cluster logs
in, and the browser sends the credentials with each question to /api. The page loads nothing from elsewhere, runs no
inline script, and shows names of queues and clients as text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_PAGES: Final = {
    "/": ("console.html", "text/html; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def web_routes() -> list[Route]:
    """The page and its two parts; each is read once, when it is asked for first."""
    return [Route(path, _page(name, media_type)) for path, (name, media_type) in _PAGES.items()]


def _page(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    held: list[bytes] = []

    async def answer(_: Request) -> Response:
        if not held:
            held.append((files(__name__) / name).read_bytes())
        return Response(held[0], headers=_HEADERS, media_type=media_type)

    return answer
