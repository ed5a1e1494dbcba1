"""What clients may say at once."""

from __future__ import annotations

from cluster.node.amqp.reading import RECEIVE_BYTES, RECEIVE_BYTES_MIN, WINDOW_SECONDS, Reading


def passes(reading: Reading, wants: dict[str, int], *, count: int = 5, first: int = 0) -> list[dict[str, int]]:
    """Bytes of each connection in `count` passes, a window apart, if they want to say so many in each."""
    said = []
    for turn in range(first, first + count):
        in_pass = {}
        for connection, want in wants.items():
            size = min(want, reading.share(turn * WINDOW_SECONDS))
            reading.heard(connection, size)
            in_pass[connection] = size
        said.append(in_pass)
    return said


def test_a_connection_that_says_much_alone_is_heard_in_large_pieces() -> None:
    assert passes(Reading(), {"greedy": 1 << 30})[-1] == {"greedy": RECEIVE_BYTES}


def test_who_says_little_costs_others_nothing_and_is_heard_in_every_pass() -> None:
    for said in passes(Reading(), {"greedy": 1 << 30, "polite": 300, "acks": 6000}):
        assert said == {"greedy": RECEIVE_BYTES, "polite": 300, "acks": 6000}


def test_many_who_say_much_make_a_polite_one_wait_no_longer_than_one_of_them_does() -> None:
    """In one pass all of them together are heard for what one alone is."""
    for count in (2, 4, 7, RECEIVE_BYTES // RECEIVE_BYTES_MIN):
        wants = {str(number): 1 << 30 for number in range(count)}
        for said in passes(Reading(), {**wants, "polite": 300})[2:]:
            assert said.pop("polite") == 300
            assert sum(said.values()) <= RECEIVE_BYTES


def test_everybody_may_say_something_however_many_there_are() -> None:
    said = passes(Reading(), {str(number): 1 << 30 for number in range(1000)})[-1]
    assert set(said.values()) == {RECEIVE_BYTES_MIN}


def test_who_says_no_more_takes_nothing_from_the_others() -> None:
    reading = Reading()
    passes(reading, {"greedy": 1 << 30, "other": 1 << 30})
    assert passes(reading, {"greedy": 1 << 30}, first=5)[-1] == {"greedy": RECEIVE_BYTES}
