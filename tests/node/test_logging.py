"""Log lines: one event each, unambiguous to a parser."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from cluster.node.logging import configure_logging, get_logger


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("cluster")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def logged(
    shape: Literal["logfmt", "json"], level: Literal["debug", "info", "warning", "error"] = "info"
) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level=level, shape=shape, node="mq-0", stream=stream)
    return stream


def test_logfmt_quotes_what_would_be_ambiguous() -> None:
    stream = logged("logfmt")
    get_logger("links").info("link up", peer="mq-1", why='a "b"=c\nd', none=None, yes=True, name="n", empty="")
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert line.split(" ", 1)[1] == (
        'level=info node=mq-0 part=links event="link up" peer=mq-1 why="a \\"b\\"=c\\nd" none=null yes=true name=n'
        ' empty=""\n'
    )


def test_json_is_one_object_a_line_with_time_in_utc_milliseconds() -> None:
    stream = logged("json")
    get_logger("raft").warning("slow fsync", milliseconds=2100, path=io)
    record = json.loads(stream.getvalue())
    assert record.pop("time").endswith("Z")
    assert record.pop("path").startswith("<module")
    assert record == {
        "level": "warning",
        "node": "mq-0",
        "part": "raft",
        "event": "slow fsync",
        "milliseconds": 2100,
    }


def test_a_field_cannot_take_the_place_of_what_every_line_has() -> None:
    stream = logged("json")
    get_logger("raft").info("term", level="x", node="y")
    record = json.loads(stream.getvalue())
    assert (record["level"], record["node"]) == ("info", "mq-0")


def test_an_exception_is_one_line_with_its_traceback_as_a_field() -> None:
    stream = logged("logfmt")
    try:
        raise KeyError("x")
    except KeyError:
        get_logger("links").exception("fault")
    assert stream.getvalue().count("\n") == 1
    assert 'error="Traceback (most recent call last):\\n' in stream.getvalue()


def test_levels_below_the_configured_one_and_chatty_libraries_are_silent() -> None:
    stream = logged("logfmt", "warning")
    get_logger("links").info("link up")
    get_logger("links").debug("detail")
    logging.getLogger("library").info("chat")
    assert stream.getvalue() == ""
    get_logger("links").error("broken")
    logging.getLogger("library").warning("trouble")
    assert [line.split("event=")[1] for line in stream.getvalue().splitlines()] == ["broken", "trouble"]
