"""Down to so many nodes: the members with the highest ordinals go, as a StatefulSet takes its pods.

Law: one after the other, and each hands everything over first. None goes while one that stays is down, nor where the
cluster says that a quorum is at risk. Nothing is remembered: done again, it goes on where it was. Where there are no
more members than asked for, it does nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from cluster.clusterctl.api import Api, ApiError, Unreachable
from cluster.clusterctl.codes import CRITICAL, QUORUM_CRITICAL, UsageError, complain, done, wants_json

PATIENCE_SECONDS = 15.0
"""How long a refusal may last, or silence at the beginning: an election, or a move that has begun, is over sooner."""
_PAUSE_SECONDS = 0.5
_ORDINAL = re.compile(r"(?P<set>.*)-(?P<ordinal>\d+)")
_REFUSED = 409

Row = dict[str, Any]


class Refused(Exception):
    """Nobody may go now; the text is one line."""


class NotInTime(Exception):
    """It goes on, and takes longer than was allowed; the text is one line."""


def nodes_scale(asked: argparse.Namespace, api: Api) -> int:
    """0 when there are no more than `asked.count`, 69 where that is refused, 2 where it takes too long."""
    answering, rows = _first_look(api)
    staying, leaving = split(rows, asked.count)
    if answering in leaving:
        raise UsageError(f"{answering} is to leave: ask a node that stays, such as {staying[0]}")
    try:
        for name in leaving:
            _let_go(api, name, staying, asked.timeout, _teller(asked))
    except Refused as refused:
        return complain([str(refused)], QUORUM_CRITICAL)
    except NotInTime as late:
        return complain([str(late)], CRITICAL)
    names = ", ".join(staying)
    if leaving:
        return done(asked, f"{len(leaving)} have left; {len(staying)} stay: {names}")
    return done(asked, f"nobody has to leave: {len(staying)} members, {names}")


def split(rows: Sequence[Row], count: int) -> tuple[list[str], list[str]]:
    """Names of those that stay, ascending, and of those that go, the highest ordinal first. Raises UsageError."""
    ordinals: dict[str, int] = {}
    sets: set[str] = set()
    for row in rows:
        found = _ORDINAL.fullmatch(row["name"])
        if found is None:
            raise UsageError(f"{row['name']} has no ordinal at its end: use clusterctl nodes remove")
        ordinals[row["name"]] = int(found["ordinal"])
        sets.add(found["set"])
    if len(sets) > 1:
        raise UsageError(f"the members are of {', '.join(sorted(sets))}: use clusterctl nodes remove")
    by_ordinal = sorted(ordinals, key=lambda name: ordinals[name])
    staying = [name for name in by_ordinal if ordinals[name] < count]
    if not staying:
        raise UsageError(f"no member has an ordinal below {count}: somebody has to stay")
    return staying, [name for name in reversed(by_ordinal) if ordinals[name] >= count]


def _first_look(api: Api) -> tuple[str, list[Row]]:
    """Who answers, and the members; a cluster whose nodes have just been started is waited for. Raises Unreachable."""
    began = time.monotonic()
    while True:
        try:
            return api.status()["cluster"]["answered_by"], _members(api)
        except Unreachable:
            if time.monotonic() - began >= PATIENCE_SECONDS:
                raise
        time.sleep(_PAUSE_SECONDS)


def _members(api: Api) -> list[Row]:
    """Those that are not being replaced already."""
    return [row for row in api.get("cluster", "nodes") if row["membership"] != "gone"]


def _let_go(api: Api, name: str, staying: Sequence[str], timeout_seconds: float, tell: Callable[[str], None]) -> None:
    """Raises Refused, NotInTime, Unreachable, ApiError."""
    began = time.monotonic()
    asked_for = False
    said = ""
    while True:
        waited = time.monotonic() - began
        try:
            rows = {row["name"]: row for row in _members(api)}
            if name not in rows:
                tell(f"{name} has left the cluster")
                return
            if not asked_for:
                _check(rows, staying, name)
                api.delete("cluster", "nodes", name)
                asked_for = True
            row = rows[name]
            line = f"{name} leaves: {row['groups']} groups to hand over, of which it leads {row['leads']}"
        except (Refused, ApiError) as error:
            if isinstance(error, ApiError) and error.status != _REFUSED and error.status < 500:
                raise
            if not asked_for and waited >= min(PATIENCE_SECONDS, timeout_seconds):
                raise Refused(f"{name} may not leave: {error}") from error
            line = f"{name} waits: {error}"
        except Unreachable as error:
            if waited >= timeout_seconds:
                raise
            line = f"{name}: nobody answers: {error}"
        if line != said:
            tell(line)
            said = line
        if waited >= timeout_seconds:
            raise NotInTime(f"{name} has not left after {timeout_seconds:g} s; it goes on: run this again")
        time.sleep(_PAUSE_SECONDS)


def _check(rows: dict[str, Row], staying: Sequence[str], leaving: str) -> None:
    """Who stays is to be there before anybody goes. Raises Refused."""
    missing = [name for name in staying if not rows.get(name, {}).get("up")]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        raise Refused(f"{', '.join(missing)} {are} to stay and {are} down: bring that back before {leaving} goes")


def _teller(asked: argparse.Namespace) -> Callable[[str], None]:
    """Progress on stderr where stdout is a document."""

    def tell(line: str) -> None:
        print(line, file=sys.stderr if wants_json(asked) else sys.stdout, flush=True)

    return tell
