"""HTTP to the admin interface in front of a fake node, on loopback."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from cluster.node.admin.server import serve_admin
from tests.node.admin.fake_source import FakeSource


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return str(self.json()["reason"])


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    async def ask(
        self,
        path: str,
        *,
        user: str | None = None,
        method: str = "GET",
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {}

        def exchange() -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request(method, path, body=body, headers={**sent, **(headers or {})})
                response = connection.getresponse()
                return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            finally:
                connection.close()

        return await trio.to_thread.run_sync(exchange)

    async def get(self, path: str, user: str = "guest:guest") -> Any:
        """The document under /api; the answer must be 200."""
        answer = await self.ask(f"/api/{path}", user=user)
        assert answer.status == 200, answer.body
        return answer.json()

    async def names(self, path: str, user: str = "guest:guest") -> list[Any]:
        """Of the documents in a list."""
        return [document["name"] for document in await self.get(path, user)]

    async def put(self, path: str, document: object, user: str = "guest:guest") -> Answer:
        return await self.ask(f"/api/{path}", user=user, method="PUT", body=json.dumps(document))

    async def post(self, path: str, document: object, user: str = "guest:guest") -> Answer:
        return await self.ask(f"/api/{path}", user=user, method="POST", body=json.dumps(document))

    async def delete(self, path: str, user: str = "guest:guest", headers: Mapping[str, str] | None = None) -> Answer:
        return await self.ask(f"/api/{path}", user=user, method="DELETE", headers=headers)


@asynccontextmanager
async def served(source: FakeSource) -> AsyncIterator[Client]:
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
            await serve_admin(source, host="127.0.0.1", port=0, task_status=task_status)

        yield Client(await nursery.start(serve))
        nursery.cancel_scope.cancel()
