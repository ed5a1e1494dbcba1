"""Exit codes, and how a command says what it did.

Law: scripts rely on the codes; they never change. With --json whatever is printed on stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from cluster.clusterctl.look import table

OK = 0
DEGRADED = 1
CRITICAL = 2
UNREACHABLE = 3
USAGE = 64
QUORUM_CRITICAL = 69


class UsageError(Exception):
    """Something on the command line is wrong; the text is one line."""


def complain(lines: Sequence[str], code: int) -> int:
    for line in lines:
        print(f"clusterctl: {line}", file=sys.stderr)
    return code


def print_lines(lines: Sequence[str]) -> None:
    print("\n".join(lines))


def print_document(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def wants_json(asked: argparse.Namespace) -> bool:
    return getattr(asked, "output", "table") == "json"


def done(asked: argparse.Namespace, line: str) -> int:
    """A change is made: say so."""
    if wants_json(asked):
        print_document({"done": line})
    else:
        print(line)
    return OK


def listed(asked: argparse.Namespace, documents: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str]]) -> int:
    """A table of (heading, key); with --json the documents themselves."""
    if wants_json(asked):
        print_document(documents)
        return OK
    rows = [[_cell(document.get(key)) for _, key in columns] for document in documents]
    print_lines(table([heading for heading, _ in columns], rows))
    return OK


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return "-" if value is None or value == "" else str(value)
