"""The console: static files, and what its script reads from /api."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource

SCRIPT = (files("cluster.node.admin.web") / "console.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "media_type"), [("/", "text/html"), ("/console.js", "text/javascript"), ("/console.css", "text/css")]
)
async def test_the_console_is_served_to_everyone_and_may_load_nothing_from_elsewhere(
    path: str, media_type: str
) -> None:
    async with served(FakeSource()) as client:
        answer = await client.ask(path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(rb"https?://", answer.body)


def test_the_script_never_makes_markup_of_what_it_was_told() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", SCRIPT)


@pytest.mark.parametrize(("letter", "path"), [("q", "queues"), ("c", "connections"), ("e", "exchanges")])
async def test_every_column_of_a_list_is_in_the_documents_of_the_list(letter: str, path: str) -> None:
    tabs = SCRIPT[SCRIPT.index("const TABS") : SCRIPT.index("function frame")]
    names = set(re.findall(rf"\b{letter}\.([a-z_]+)", tabs))
    async with served(FakeSource()) as client:
        document = (await client.get(f"{path}?page=1"))["items"][0]
    assert len(names) > 3
    assert names <= document.keys()


async def test_every_column_of_the_nodes_is_in_the_status() -> None:
    names = set(re.findall(r"\bn\.([a-z_0-9]+)", SCRIPT))
    async with served(FakeSource()) as client:
        nodes = (await client.get("cluster/status"))["nodes"]
    assert names <= nodes[0].keys()
