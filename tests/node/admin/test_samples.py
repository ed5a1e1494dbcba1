"""What was told earlier, to those who ask for samples."""

from __future__ import annotations

import pytest

from cluster.node.admin.samples import HISTORIES_MAX, Samples, Span
from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def told(samples: Samples, value: int, span: Span) -> list[tuple[int, int]]:
    details = samples.since("queue", {"messages": value}, span)["messages_details"]
    return [(sample["timestamp"] // 1000, sample["sample"]) for sample in details["samples"]]


def test_the_first_answer_is_its_own_and_only_sample() -> None:
    assert told(Samples(Clock(1003)), 7, Span(60, 5)) == [(1000, 7)]


def test_samples_stand_at_whole_steps_and_say_what_was_known_then() -> None:
    clock = Clock(1000.0)
    samples, span = Samples(clock), Span(20, 5)
    for clock.now, value in ((1000.0, 10), (1006.0, 20), (1008.0, 99), (1012.0, 30)):
        latest = told(samples, value, span)
    assert latest == [(1010, 20), (1005, 10), (1000, 10)]
    clock.now = 1021.0
    details = samples.since("queue", {"messages": 60}, span)["messages_details"]
    assert [sample["sample"] for sample in details["samples"]] == [30, 30, 20, 10, 10]
    assert (details["avg"], details["avg_rate"]) == (20.0, 1.0)


def test_histories_are_bounded_and_the_one_nobody_asked_for_longest_goes() -> None:
    clock = Clock(0.0)
    samples = Samples(clock)
    told(samples, 1, Span(60, 5))
    clock.now = 100.0
    for number in range(HISTORIES_MAX):
        samples.since(number, {"messages": 1}, Span(60, 5))
    assert told(samples, 2, Span(200, 5)) == [(100, 2)]


async def test_who_asks_for_samples_gets_them_beside_the_rates() -> None:
    async with served(FakeSource()) as client:
        lengths = "lengths_age=60&lengths_incr=5"
        queue = await client.get(f"queues/%2F/orders?{lengths}")
        overview = await client.get(f"overview?msg_rates_age=60&msg_rates_incr=5&{lengths}")
    assert [sample["sample"] for sample in queue["messages_details"]["samples"]] == [10]
    assert queue["message_stats"]["publish_details"] == {"rate": 0.0}
    assert overview["message_stats"]["publish_details"]["samples"][0]["sample"] == 3000
    assert overview["queue_totals"]["messages_details"]["avg"] == 33.0


@pytest.mark.parametrize(
    "query", ["lengths_age=x&lengths_incr=5", "lengths_age=5&lengths_incr=0", "lengths_age=9999&lengths_incr=5"]
)
async def test_samples_that_cannot_be_are_refused(query: str) -> None:
    async with served(FakeSource()) as client:
        answer = await client.ask(f"/api/queues/%2F/orders?{query}", user="guest:guest")
    assert (answer.status, answer.reason.partition(":")[0]) == (400, "lengths_age, lengths_incr")
