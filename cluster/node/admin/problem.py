"""Errors of the API as `application/problem+json`.

Law: RFC 9457; `title` is the status in words, `detail` one line for the operator, and no detail tells an
unauthenticated caller anything about the broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse


class ProblemResponse(JSONResponse):
    """`{"title", "status", "detail"}`."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        content = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
        super().__init__(content, status_code=status, headers=headers)
