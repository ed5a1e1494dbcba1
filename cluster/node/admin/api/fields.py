"""Fields of JSON objects that come from outside.

Law: a field is of the kind it must be, or an error of one line names it; nothing is guessed. Imports nothing of HTTP:
a node that serves nobody yet reads definitions too.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from cluster.amqp.wire import SHORTSTR_SIZE_MAX

T = TypeVar("T")
Document = dict[str, Any]
_MISSING: Any = object()


class BadField(ValueError):
    """A key of an object does not say what it should; one line."""


def field(document: Document, key: str, kind: type[T], default: T = _MISSING) -> T:
    """The value under `key`, which must be of `kind` (a whole number is no bool). Raises BadField."""
    value = document.get(key, _MISSING)
    if value is _MISSING or (value is None and default is not _MISSING):
        if default is _MISSING:
            raise BadField(f"'{key}' is missing")
        return default
    if isinstance(value, str) and kind is not str:
        value = _from_words(value, kind)
    if value == [] and kind is dict:
        return kind()  # an empty object, as some of RabbitMQ's clients and older documents write it
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadField(f"'{key}' must be {_KINDS[kind]}, got {json.dumps(value)[:80]}")
    return value


def short(text: str, what: str) -> str:
    """The text, which fits the short string that is all AMQP has for it. Raises BadField."""
    if len(text.encode()) > SHORTSTR_SIZE_MAX:
        raise BadField(f"{what} is longer than {SHORTSTR_SIZE_MAX} octets")
    return text


def short_name(name: str, of: str) -> str:
    """The name of such a thing, by which clients can call it. Raises BadField."""
    if not name:
        raise BadField(f"{of}'s name cannot be empty")
    return short(name, f"{of}'s name")


def _from_words(text: str, kind: type) -> Any:
    """rabbitmqadmin sends everything as text. What is none of the kind comes back as it is."""
    if kind is bool and text in _BOOLS:
        return _BOOLS[text]
    return int(text) if kind is int and _INTEGER.fullmatch(text) else text


_BOOLS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_KINDS: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
