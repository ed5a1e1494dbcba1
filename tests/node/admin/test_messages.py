"""What a look at the messages of a queue asks for."""

from __future__ import annotations

import pytest

from cluster.node.admin.api.fields import BadField
from cluster.node.admin.api.messages import GET_COUNT_MAX, Look, read_look

ASKED = {"count": 2, "ackmode": "ack_requeue_true", "encoding": "auto"}


def test_numbers_of_a_look_may_come_as_text() -> None:
    look = read_look({**ASKED, "count": "2", "truncate": "50000"})
    assert look == Look(2, "ack_requeue_true", "auto", 50_000)


def test_a_look_without_truncate_shows_whole_messages() -> None:
    assert read_look(ASKED).truncate is read_look({**ASKED, "truncate": None}).truncate is None


def test_who_asks_for_more_messages_than_one_look_shows_gets_the_first_of_them() -> None:
    assert [read_look({**ASKED, "count": n}).count for n in (0, GET_COUNT_MAX, 50_000)] == [0, 1000, GET_COUNT_MAX]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"count": "-1"}, "'count' must not be negative"),
        ({"truncate": "-1"}, "'truncate' must not be negative"),
        ({"truncate": "all"}, "'truncate' must be a whole number, got \"all\""),
        ({"ackmode": "keep"}, "'ackmode' must be one of ack_requeue_true, ack_requeue_false, reject_requeue_true, "
        "reject_requeue_false"),
        ({"encoding": "utf-8"}, "'encoding' must be auto or base64"),
    ],
)  # fmt: skip
def test_a_look_that_asks_for_something_else_is_one_line(wrong: dict[str, str], line: str) -> None:
    with pytest.raises(BadField) as error:
        read_look({**ASKED, **wrong})
    assert str(error.value) == line
