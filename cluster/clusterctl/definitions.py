"""Definitions to a file, from a file, and what a file would change.

Law: an import deletes nothing; `diff` and `--dry-run` change nothing, and their plan is the node's own. `diff` is 1
when something would change. Warnings go to stderr, one line each.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cluster.clusterctl.api import Api
from cluster.clusterctl.codes import DEGRADED, OK, UsageError, done, print_document, print_lines, wants_json

IMPORT_TIMEOUT_SECONDS = 120.0
_SIGNS = {"create": "+", "change": "~"}


def export(asked: argparse.Namespace, api: Api) -> int:
    document = api.get("definitions", *_vhost(asked))
    if asked.file == "-":
        print_document(document)
        return OK
    try:
        Path(asked.file).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{asked.file}: cannot be written: {error.strerror}") from None
    return done(asked, f"wrote {asked.file}")


def load(asked: argparse.Namespace, api: Api) -> int:
    if asked.dry_run:
        _show_plan(asked, _plan(asked, api))
        return OK
    summary = _post(asked, api, "summary=true")
    _warn(summary)
    if wants_json(asked):
        print_document(summary)
        return OK
    return done(asked, f"{summary['created']} created, {summary['changed']} changed, {summary['unchanged']} unchanged")


def diff(asked: argparse.Namespace, api: Api) -> int:
    plan = _plan(asked, api)
    _show_plan(asked, plan)
    return DEGRADED if plan["changes"] else OK


def _plan(asked: argparse.Namespace, api: Api) -> dict[str, Any]:
    return _post(asked, api, "dry_run=true")


def _post(asked: argparse.Namespace, api: Api, query: str) -> dict[str, Any]:
    document = _read(asked.file)
    answer: dict[str, Any] = api.post(
        "definitions", *_vhost(asked), document=document, query=query, timeout_seconds=IMPORT_TIMEOUT_SECONDS
    )
    return answer


def _vhost(asked: argparse.Namespace) -> list[str]:
    return [] if asked.vhost is None else [asked.vhost]


def _read(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{name}: not JSON: {error}") from None


def _show_plan(asked: argparse.Namespace, plan: dict[str, Any]) -> None:
    if wants_json(asked):
        print_document(plan)
        return
    _warn(plan)
    lines = [f"{_SIGNS.get(change['action'], '?')} {change['object']}" for change in plan["changes"]]
    print_lines([*lines, f"{len(lines)} to change, {plan['unchanged']} unchanged"])


def _warn(answer: dict[str, Any]) -> None:
    for line in answer["warnings"]:
        print(f"clusterctl: warning: {line}", file=sys.stderr)
