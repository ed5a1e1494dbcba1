"""A leader whose node's copy of the catalog has not heard of a queue takes in what comes, and hands nothing out."""

from __future__ import annotations

import pytest

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.broker.shard.settings import PLAIN, UNKNOWN, QueueSettings
from tests.broker.shard.scene import QUEUE, holding
from tests.broker.shard.timed import Timed


class Behind(Timed):
    """A leader has just begun, and its copy has not heard of the queue before `hear`."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.will_be = self.catalog.of_queue

    @classmethod
    def of_plain(cls) -> Behind:
        """Nothing is said about the queue."""
        scene = cls()
        scene.will_be = scene.catalog.of_queue = PLAIN
        return scene

    def fall_behind(self) -> None:
        self.catalog.of_queue = UNKNOWN

    def hear(self) -> None:
        self.catalog.of_queue = self.will_be
        self.leader.settings_changed(QUEUE)
        self.run()

    @property
    def got(self) -> list[tuple[int, int]]:
        """(seq, redelivered)"""
        return [(seq, redelivered) for _, seq, redelivered in self.seqs()]


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_consumer_gets_nothing_before_the_queue_is_known_and_everything_then(is_plain: bool) -> None:
    scene = Behind.of_plain() if is_plain else Behind(max_length=10)
    scene.fall_behind()
    request = scene.consume(1)
    assert scene.answer(request) == [0, 0]
    scene.publish_marked(3, [])
    assert scene.deliveries() == []
    assert scene.words[1].receipt == (1, 1), "publishers do not wait for it"
    scene.hear()
    assert scene.got == [(0, 0), (1, 0), (2, 0)]


def test_a_new_leader_that_does_not_know_the_queue_hands_out_nothing() -> None:
    scene = Behind.of_plain()
    scene.publish_marked(3, [])
    scene.fall_behind()
    scene.change_leader()
    scene.consume(1)
    scene.pass_time(1000)
    assert scene.deliveries() == []
    scene.hear()
    assert [seq for seq, _ in scene.got] == [0, 1, 2]


def test_a_get_is_answered_when_the_queue_is_known() -> None:
    scene = Behind.of_plain()
    scene.fall_behind()
    scene.publish_marked(1, [])
    request = scene.ask(RequestOp.GET, 5)
    scene.run()
    assert scene.replies() == []
    scene.hear()
    assert [(number, status) for number, status, _ in scene.replies()] == [(request, ReplyStatus.OK)]


def test_what_is_too_old_or_too_much_stays_until_it_is_known_what_becomes_of_it() -> None:
    scene = Behind(max_length=2, message_ttl_ms=100)
    scene.fall_behind()
    scene.publish_marked(3, [(0, Mark.EXPIRATION, 10)])
    scene.pass_time(50)
    assert scene.alive == [0, 1, 2]
    scene.hear()
    assert scene.alive == [1, 2]
    scene.pass_time(50)
    assert scene.alive == []


def test_what_has_a_priority_goes_first_also_if_it_came_before_the_queue_was_known() -> None:
    scene = Behind(max_priority=5)
    scene.fall_behind()
    scene.consume(1, credit=2)
    scene.publish_marked(3, [(1, Mark.PRIORITY, 3), (2, Mark.PRIORITY, 5)])
    scene.hear()
    assert [seq for seq, _ in scene.got] == [2, 1]


def test_one_of_the_consumers_that_came_before_the_queue_was_known_is_the_active_one() -> None:
    scene = Behind(single_active_consumer=True)
    scene.fall_behind()
    scene.consume(1)
    scene.consume(2)
    scene.publish_marked(4, [])
    scene.hear()
    assert [consumer for consumer, _, _ in scene.seqs()] == [1, 1, 1, 1]


def come_back_meanwhile(scene: Behind) -> Behind:
    """A message is delivered by a leader that knows the queue, and comes back to one that does not."""
    scene.publish_marked(1, [])
    scene.consume(1)
    scene.fall_behind()
    scene.change_leader(holding(1, (0, 1), credit=100))
    scene.batch(returns=[(QUEUE, 0, 1)])
    scene.run()
    return scene


def test_a_message_that_came_back_meanwhile_comes_with_its_count() -> None:
    scene = come_back_meanwhile(Behind(delivery_limit=5, is_quorum=True))
    assert scene.deliveries() == []
    scene.hear()
    assert scene.got in ([(0, 2)], [(0, 3)]), "flagged, and counted once, or once too often"


def test_what_came_back_too_often_meanwhile_is_parked() -> None:
    scene = come_back_meanwhile(Behind(delivery_limit=0, is_quorum=True))
    scene.hear()
    assert scene.deliveries() == []
    assert scene.leader.queues[QUEUE].parked.count == 1


def test_what_a_lost_consumer_had_is_counted_when_it_is_known_that_deliveries_are() -> None:
    scene = Behind(delivery_limit=5, is_quorum=True)
    scene.publish_marked(1, [])
    scene.consume(1)
    assert scene.got == [(0, 0)]
    scene.fall_behind()
    scene.change_leader()
    scene.consume(2)
    scene.hear()
    assert scene.got == [(0, 2)]


def test_what_is_not_handed_out_is_not_declared_as_delivered() -> None:
    scene = Behind(delivery_limit=5, is_quorum=True)
    scene.fall_behind()
    scene.consume(1)
    scene.publish_marked(3, [])
    assert scene.state.queues[QUEUE].watermark == 0


def test_settings_that_come_while_home_nodes_attach_hold_when_they_have() -> None:
    scene = Behind(delivery_limit=5, is_quorum=True)
    scene.publish_marked(1, [])
    scene.consume(1)
    scene.fall_behind()
    scene.new_leader()
    scene.hear()
    scene.leader.attach(1, [])
    scene.leader.all_attached()
    scene.consume(2)
    assert scene.got == [(0, 2)]


def test_a_queue_that_turns_out_to_be_deleted_goes_with_who_waits_for_it() -> None:
    scene = Behind.of_plain()
    scene.fall_behind()
    scene.consume(1)
    request = scene.ask(RequestOp.GET, 5)
    scene.publish_marked(1, [])
    scene.leader.drop(QUEUE)
    scene.run()
    assert scene.words[1].cancelled == [1]
    assert [(number, status) for number, status, _ in scene.replies()] == [(request, ReplyStatus.GONE)]
    assert QUEUE not in scene.state.queues
    assert QUEUE not in scene.leader.queues


def test_a_queue_that_was_known_is_not_unknown_again() -> None:
    scene = Behind(max_length=2)
    scene.consume(1)
    scene.catalog.of_queue = UNKNOWN
    scene.leader.settings_changed(QUEUE)
    assert scene.leader.queues[QUEUE].settings is scene.will_be
    scene.publish_marked(1, [])
    assert scene.got == [(0, 0)]


def test_other_queues_go_on() -> None:
    known = QueueId(QUEUE + 1)

    class OneUnknown:
        def settings(self, queue: QueueId) -> QueueSettings:
            return PLAIN if queue == known else UNKNOWN

    scene = Behind()
    scene.catalog.settings = OneUnknown().settings  # type: ignore[method-assign]
    scene.consume(1)
    scene.ask(RequestOp.CONSUME, 2, 100, 10**6, 0, queue=known)
    scene.batch(records=[b"a", b"b"], runs=[(QUEUE, 0, 1), (known, 1, 1)])
    scene.run()
    assert [consumer for consumer, _, _ in scene.seqs()] == [2]


PATIENCE_MS = 1500


def starved(scene: Behind) -> list[QueueId]:
    return scene.leader.starved(PATIENCE_MS)


@pytest.mark.parametrize("waiting", ["message", "consumer", "get"])
def test_what_waits_for_an_unknown_queue_is_told_after_a_while_and_until_the_queue_is_known(waiting: str) -> None:
    scene = Behind.of_plain()
    scene.fall_behind()
    match waiting:
        case "message":
            scene.publish_marked(1, [])
        case "consumer":
            scene.consume(1)
        case _:
            scene.ask(RequestOp.GET, 5)
    scene.pass_time(PATIENCE_MS - 1)
    assert starved(scene) == []
    scene.pass_time(1)
    assert starved(scene) == [QUEUE]
    scene.hear()
    assert starved(scene) == []


def test_a_new_leader_has_patience_of_its_own() -> None:
    scene = Behind.of_plain()
    scene.fall_behind()
    scene.publish_marked(1, [])
    scene.pass_time(PATIENCE_MS)
    scene.change_leader()
    assert starved(scene) == []
    scene.pass_time(PATIENCE_MS)
    assert starved(scene) == [QUEUE]


def test_nothing_waits_for_an_unknown_queue_that_is_empty_or_dropped() -> None:
    scene = Behind.of_plain()
    scene.fall_behind()
    scene.ask(RequestOp.INFO)
    scene.pass_time(PATIENCE_MS)
    assert QUEUE in scene.leader.queues
    assert starved(scene) == []
    scene.publish_marked(1, [])
    assert starved(scene) == [QUEUE]
    scene.leader.drop(QUEUE)
    assert starved(scene) == []
    scene.run()
    assert starved(scene) == []
    assert QUEUE not in scene.leader.queues
