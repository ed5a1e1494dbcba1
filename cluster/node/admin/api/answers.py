"""Answers: lists that can be cut into pages, and the codes of changes.

Law: a list without `page` is a plain array; with it an object with the page under `items`, and the counts. An
order that was not asked for is the one of the list. What is long is encoded in a thread, and the loop turns on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import regex
import trio
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.broker.catalog.access import MATCH_SECONDS_MAX
from cluster.node.admin.api.asked import Asked
from cluster.node.admin.api.fields import Document
from cluster.node.admin.gently import gently, gently_sorted

T = TypeVar("T")
PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 500
_NUMBER = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_THREAD_ITEMS = 500
"""From so many items on, encoding a list is a thread's."""


def created() -> Response:
    return Response(status_code=201)


def nothing() -> Response:
    """Done, and nothing to say."""
    return Response(status_code=204)


def changed(*, new: bool) -> Response:
    """201 for a thing that was not there, 204 for one that was."""
    return created() if new else nothing()


def found(asked: Asked, document: Document) -> Response:
    """One thing, or of it the `columns` that are asked for."""
    return JSONResponse(_with_columns([document], asked.request.query_params.get("columns", ""))[0])


def depths(ready: int, unacked: int, messages: int) -> dict[str, int]:
    """How much lies in queues, in RabbitMQ's words. `messages` are all, parked and leaving ones too."""
    return {
        "messages": messages,
        "messages_ready": ready,
        "messages_unacknowledged": unacked,
    }


class BadPage(HTTPException):
    """A page that there is not, in RabbitMQ's words."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(400, reason)
        self.error = error


@dataclass(frozen=True, slots=True)
class Wish:
    """What the query says of a list: `page`, `page_size`, `name`, `use_regex`, `sort`, `sort_reverse`, `columns`.

    `page` 0 is the whole list, and `matches` is for pages alone.
    """

    page: int
    size: int
    name: str
    matches: Callable[[str], bool]
    sort: str
    reverse: bool
    columns: str

    def part(self, kept: Sequence[T]) -> Sequence[T]:
        """The page's. Raises BadPage when the list does not reach so far."""
        begin = (self.page - 1) * self.size
        if begin and begin >= len(kept):
            reason = f"Page out of range, page: {self.page} page size: {self.size}, len: {len(kept)}"
            raise BadPage("page_out_of_range", reason)
        return kept[begin : begin + self.size]


def wish_of(asked: Asked) -> Wish:
    """Raises HTTPException 400, BadPage."""
    query = asked.request.query_params
    page_text = query.get("page")
    name = query.get("name", "") if page_text is not None else ""
    page, size = (0, 0) if page_text is None else _page(page_text, query.get("page_size"))
    return Wish(
        page=page,
        size=size,
        name=name,
        matches=_matcher(name, use_regex=asked.flag("use_regex")),
        sort=query.get("sort", ""),
        reverse=asked.flag("sort_reverse"),
        columns=query.get("columns", ""),
    )


async def listed(
    asked: Asked, items: Sequence[T], describe: Callable[[T], Document], *, in_pages: bool = False
) -> Response:
    """A list as the query wants it, `in_pages` if it wants that: RabbitMQ has pages of some lists only, and clients
    that ask for one of another are given all. Raises HTTPException 400."""
    wish = wish_of(asked)
    if not in_pages:
        wish = replace(wish, page=0, name="")
    if wish.page and not (wish.sort or wish.name):
        return await paged(wish, len(items), len(items), [describe(item) for item in wish.part(items)])
    kept = [describe(item) async for item in gently(items)]
    if wish.name:
        kept = [document async for document in gently(kept) if wish.matches(str(document.get("name", "")))]
    if wish.sort:
        kept = await gently_sorted(kept, lambda document: _rank(document, wish.sort), reverse=wish.reverse)
    if not wish.page:
        return await encoded(_with_columns(kept, wish.columns))
    return await paged(wish, len(items), len(kept), wish.part(kept))


async def paged(wish: Wish, total: int, filtered: int, shown: Sequence[Document]) -> Response:
    """A page of a list of `total`, of which so many have the name that was asked for."""
    return await encoded(
        {
            "filtered_count": filtered,
            "item_count": len(shown),
            "items": _with_columns(list(shown), wish.columns),
            "page": wish.page,
            "page_count": -(-filtered // wish.size),
            "page_size": wish.size,
            "total_count": total,
        }
    )


async def encoded(content: Any) -> Response:
    """As JSON, without stopping the loop for what may be long."""
    if not isinstance(content, list) or len(content) > _THREAD_ITEMS:
        return Response(await trio.to_thread.run_sync(_dumps, content), media_type="application/json")
    return JSONResponse(content)


def _dumps(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _rank(document: Document, key: str) -> tuple[int, float, str]:
    """Numbers before words before nothing."""
    value = _look_up(document, key)
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def _look_up(document: Document, path: str) -> Any:
    """`message_stats.publish` looks into the object under `message_stats`."""
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _with_columns(documents: list[Document], columns: str) -> list[Document]:
    if not columns:
        return documents
    names = [name for name in columns.split(",") if name]
    return [_narrowed(document, names) for document in documents]


def _narrowed(document: Document, names: Iterable[str]) -> Document:
    narrow: Document = {}
    for name in names:
        value = _look_up(document, name)
        if value is None and name not in document:
            continue
        at = narrow
        *above, last = name.split(".")
        for key in above:
            at = at.setdefault(key, {})
        at[last] = value
    return narrow


def _matcher(text: str, *, use_regex: bool) -> Callable[[str], bool]:
    if not use_regex:
        return lambda name: text.lower() in name.lower()
    try:
        pattern = regex.compile(text, regex.IGNORECASE)
    except (regex.error, RecursionError, OverflowError) as error:
        raise HTTPException(400, f"name: not a regular expression: {error}") from None

    def matches(name: str) -> bool:
        try:
            return pattern.search(name, timeout=MATCH_SECONDS_MAX) is not None
        except TimeoutError:
            raise HTTPException(400, "name: the regular expression takes too long") from None

    return matches


def _page(page: str, size: str | None) -> tuple[int, int]:
    """Raises BadPage."""
    numbers = [page, str(PAGE_SIZE_DEFAULT) if size is None else size]
    if not all(_NUMBER.fullmatch(text) for text in numbers):
        raise BadPage("bad_request", "Pagination parameters are invalid")
    number, items = map(int, numbers)
    if number < 1 or not 1 <= items <= PAGE_SIZE_MAX:
        named = "undefined" if size is None else items
        reason = f"Invalid pagination parameters: page number {number}, page size {named}"
        raise BadPage("invalid_pagination_parameters", reason)
    return number, items
