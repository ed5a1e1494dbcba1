"""What RabbitMQ writes into the header of a message that dies, and when it does not go on."""

from __future__ import annotations

from typing import Any

from cluster.amqp.field_table import Timestamp
from cluster.amqp.properties import BasicProperties, decode_header, encode_header
from cluster.amqp.record import Record
from cluster.amqp.wire import encode_shortstr
from cluster.broker.shard.death import DeadLetter, Reason, die, goes_round

BODY = b"the body"


def record(**properties: Any) -> bytes:
    envelope = encode_shortstr("orders") + encode_shortstr("key")
    return Record(envelope, encode_header(len(BODY), BasicProperties(**properties)), BODY).encode()


def dies(
    data: bytes, reason: Reason = Reason.REJECTED, queue: str = "q", time_ms: int = 5000, routing_key: str | None = None
) -> DeadLetter:
    return die(data, queue=queue, reason=reason, time_ms=time_ms, exchange="dlx", routing_key=routing_key)


def properties_of(letter: DeadLetter) -> BasicProperties:
    return decode_header(Record.decode(letter.record).header).properties


def test_a_first_death_is_written_down() -> None:
    letter = dies(record(content_type="text/plain", headers={"mine": 1}))
    properties = properties_of(letter)
    assert properties.content_type == "text/plain"
    assert properties.headers == {
        "mine": 1,
        "x-death": [
            {
                "count": 1,
                "exchange": "orders",
                "queue": "q",
                "reason": "rejected",
                "routing-keys": ["key"],
                "time": Timestamp(5),
            }
        ],
        "x-first-death-exchange": "orders",
        "x-first-death-queue": "q",
        "x-first-death-reason": "rejected",
        "x-last-death-exchange": "orders",
        "x-last-death-queue": "q",
        "x-last-death-reason": "rejected",
    }
    assert Record.decode(letter.record).address() == ("dlx", "key")
    assert Record.decode(letter.record).body == BODY


def test_the_same_death_again_is_counted_and_another_one_stands_before_it() -> None:
    once = dies(record())
    again = dies(dies(once.record, Reason.EXPIRED, "r").record, time_ms=9000)
    events: Any = again.headers["x-death"]
    assert [(e["queue"], e["reason"], e["count"]) for e in events] == [("q", "rejected", 2), ("r", "expired", 1)]
    assert events[0]["time"] == 5
    assert again.headers["x-first-death-queue"] == "q"
    assert again.headers["x-last-death-queue"] == "q"


def test_the_expiration_is_taken_off_and_remembered() -> None:
    letter = dies(record(expiration="70"), Reason.EXPIRED)
    assert properties_of(letter).expiration is None
    events: Any = letter.headers["x-death"]
    assert events[0]["original-expiration"] == "70"


def test_a_message_keeps_its_keys_unless_its_queue_has_one() -> None:
    data = record(headers={"CC": ["copy"]})
    kept, given = dies(data), dies(data, routing_key="other")
    assert kept.routing_keys == ("key", "copy")
    assert kept.headers["CC"] == ["copy"]
    assert given.routing_keys == ("other",)
    assert "CC" not in given.headers
    events: Any = given.headers["x-death"]
    assert events[0]["routing-keys"] == ["key", "copy"]


def test_an_automatic_circle_ends_and_one_with_a_rejection_goes_on() -> None:
    expired = dies(record(), Reason.EXPIRED, "a")
    assert goes_round(expired.headers, "a", Reason.EXPIRED)
    assert not goes_round(expired.headers, "b", Reason.EXPIRED)
    circle = dies(expired.record, Reason.MAXLEN, "b")
    assert goes_round(circle.headers, "a", Reason.MAXLEN)
    rejected = dies(expired.record, Reason.REJECTED, "b")
    assert not goes_round(rejected.headers, "a", Reason.REJECTED)
    later = dies(rejected.record, Reason.EXPIRED, "c")
    assert not goes_round(later.headers, "a", Reason.EXPIRED)


def test_headers_that_only_look_like_deaths_do_no_harm() -> None:
    for nonsense in ("text", ["text", 5], [{"queue": "q", "reason": "rejected", "count": "many"}]):
        letter = dies(record(headers={"x-death": nonsense}))
        events: Any = letter.headers["x-death"]
        assert [(e["queue"], e["reason"], e["count"]) for e in events] == [("q", "rejected", 1)]


def test_a_message_whose_headers_cannot_be_read_dies_like_any_other_and_loses_them() -> None:
    broken = record(headers={"mine": "xxxx"}).replace(b"\x04mineS", b"\x04mine?")
    letter = dies(broken)
    events: Any = letter.headers["x-death"]
    assert (events[0]["queue"], Record.decode(letter.record).body) == ("q", BODY)
    assert "mine" not in letter.headers
