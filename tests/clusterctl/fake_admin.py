"""An admin interface that answers from a table; real HTTP on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeAdmin:
    """Answers by path without query: (status, document or text). `seen` has method, path, authorization, body."""

    def __init__(self, answers: dict[str, tuple[int, Any]]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, str, str, str]] = []
        self.url = ""


@contextmanager
def fake_admin(answers: dict[str, tuple[int, Any]]) -> Iterator[FakeAdmin]:
    admin = FakeAdmin(answers)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            admin.seen.append((self.command, self.path, self.headers.get("Authorization", ""), body))
            status, content = admin.answers[self.path.partition("?")[0]]
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = answer  # noqa: N815 - http.server's word
        do_POST = answer  # noqa: N815
        do_PUT = answer  # noqa: N815
        do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent: pytest shows what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    admin.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield admin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
