"""Confirms against a publisher that believes every word: each publish is answered once, and with its own fate."""

from __future__ import annotations

import random

import pytest

from cluster.broker.channel.confirms import Confirms


@pytest.mark.parametrize("seed", range(300))
def test_every_publish_is_answered_once_and_no_tag_is_named_twice(seed: int) -> None:
    print(f"pytest {__file__} -k 'twice and {seed}'")
    source = random.Random(seed)
    confirms = Confirms()
    unanswered: list[tuple[int, int]] = []
    fate: dict[int, bool] = {}
    told: dict[int, bool] = {}
    for _ in range(60):
        throw = source.random()
        if throw < 0.5:
            count = source.randint(1, 3)
            unanswered.append((confirms.number(count), count))
        elif unanswered and throw < 0.9:
            first, count = unanswered.pop(source.randrange(len(unanswered)))
            good = source.random() < 0.7
            (confirms.done if good else confirms.refused)(first, count)
            fate.update(dict.fromkeys(range(first, first + count), good))
        else:
            for tag in confirms.take_nacks():
                assert tag not in told
                told[tag] = False
            for tag, multiple in confirms.take_acks():
                assert tag not in told
                for number in range(1 if multiple else tag, tag + 1):
                    told.setdefault(number, True)
            assert told == fate


def test_what_is_done_in_order_is_told_in_one_ack() -> None:
    confirms = Confirms()
    confirms.done(confirms.number(3), 3)
    confirms.done(confirms.number(2), 2)
    assert confirms.take_acks() == [(5, True)]
    confirms.done(confirms.number(1), 1)
    assert confirms.take_acks() == [(6, False)]


def test_a_refused_publish_is_not_acked_when_its_elders_are_done() -> None:
    confirms = Confirms()
    elder, refused = confirms.number(1), confirms.number(1)
    confirms.refused(refused, 1)
    assert (confirms.take_nacks(), confirms.take_acks()) == ([2], [])
    confirms.done(elder, 1)
    assert (confirms.take_nacks(), confirms.take_acks()) == ([], [(1, False)])
