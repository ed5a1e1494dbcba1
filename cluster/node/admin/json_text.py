"""JSON that comes from outside.

Law: what is read here can be written again, into the catalog, into messages and into answers: every text is UTF-8,
every whole number fits 64 bits and every other one is finite. JSON itself does not promise that (RFC 8259 §6, §8.2):
an escape can name half of a surrogate pair, and a number can have any length. Python's reader takes `NaN` besides.
Imports nothing of HTTP.
"""

from __future__ import annotations

import json
import math
from typing import Any

_WHOLE = range(-(2**63), 2**63)
_TEXT_SHOWN_MAX = 40
"""Characters of a text in an error."""


def read_json(data: bytes) -> Any:
    """The value in UTF-8 octets. Raises ValueError with one line."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it nests too deep") from None
    _require_writable(value)
    return value


def _require_writable(value: Any) -> None:
    """Raises ValueError. Goes through objects and lists without recursion: they may nest as deep as JSON's reader."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            _require_text(each)
        elif isinstance(each, int):
            if each not in _WHOLE:
                raise ValueError("a number in it does not fit 64 bits")
        elif isinstance(each, float):
            if not math.isfinite(each):
                raise ValueError("a number in it is not finite")
        elif isinstance(each, list):
            left.extend(each)
        elif isinstance(each, dict):
            left.extend(each)
            left.extend(each.values())


def _require_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a text in it has half a surrogate pair: {text[:_TEXT_SHOWN_MAX]!a}") from None
