"""Errors of the API as `application/problem+json`.

Law: RFC 9457; `title` is the status in words, `detail` one line for the operator, and no detail tells an
unauthenticated caller anything about the broker. `error` and `reason` say the same in the words that clients of
RabbitMQ's interface read.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse

_WORDS = {401: "not_authorised", 403: "access_refused", 404: "Object Not Found"}
"""Where RabbitMQ has another word than the status's own."""


class ProblemResponse(JSONResponse):
    """`{"title", "status", "detail", "error", "reason"}`."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, error: str = "") -> None:
        """`error` is the word for it, where it is not the status's own."""
        title = HTTPStatus(status).phrase
        error = error or _WORDS.get(status, title.lower().replace(" ", "_"))
        content = {"title": title, "status": status, "detail": detail, "error": error, "reason": detail}
        super().__init__(content, status_code=status, headers=headers)
