"""Arguments between AMQP tables and JSON.

Law: what came as JSON goes back as the same JSON. What JSON has no word for is written as text: octets as base64,
decimal fractions as their digits. JSON's whole numbers are signedint where they fit and long otherwise.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from cluster.amqp.field_table import FieldValue
from cluster.broker.catalog.arguments import arguments_of
from cluster.node.admin.api.fields import BadField, short

_WHOLE = range(-(2**63), 2**63)


def to_json(values: Mapping[str, FieldValue]) -> dict[str, Any]:
    return {name: _json(value) for name, value in values.items()}


def _json(value: FieldValue) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return to_json(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value


def to_table(arguments: Mapping[str, Any]) -> bytes:
    """The canonical table of a JSON object. Raises BadField for what no table holds."""
    for name, value in arguments.items():
        short(name, f"'arguments': the name {name[:40]!r}...")
        _check(name, value)
    try:
        return arguments_of(arguments).table
    except (ValueError, RecursionError) as error:
        raise BadField(f"'arguments': {error}") from None


def _check(name: str, value: Any) -> None:
    if isinstance(value, int) and value not in _WHOLE:
        raise BadField(f"'arguments': '{name}' does not fit 64 bits")
    if isinstance(value, list):
        for item in value:
            _check(name, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, item)
