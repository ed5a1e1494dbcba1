"""An operator at the HTTP interface."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from tests.cluster.harness import LocalCluster

_CREDENTIALS = b64encode(b"guest:guest").decode()


class Admin:
    """Asks the next node each time. Raises HTTPError for what is refused."""

    def __init__(self, nodes: LocalCluster, turn: Iterator[int]) -> None:
        self._nodes = nodes
        self._turn = turn

    def get(self, *path: str) -> Any:
        return self._ask("GET", path, None, {})

    def put(self, *path: str, **document: object) -> None:
        self._ask("PUT", path, document, {})

    def delete(self, *path: str, reason: str = "") -> None:
        """`reason` is what clients are told."""
        self._ask("DELETE", path, None, {"X-Reason": reason} if reason else {})

    def _ask(self, verb: str, path: tuple[str, ...], document: object, more: dict[str, str]) -> Any:
        url = self._nodes.url(next(self._turn) % 3) + "/api/" + "/".join([quote(part, safe="") for part in path])
        headers = {"Authorization": f"Basic {_CREDENTIALS}", "Content-Type": "application/json", **more}
        data = None if document is None else json.dumps(document).encode()
        with urlopen(Request(url, data, headers, method=verb), timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None
