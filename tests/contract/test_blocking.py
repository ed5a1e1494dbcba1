"""Publishers during an alarm: told when they publish, not read, not dropped, and let go on when it is over."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator

import pytest

from cluster.amqp import methods as m
from cluster.amqp.constants import HEARTBEAT_FRAME
from tests.cluster.harness import LocalCluster
from tests.contract.wire import Wire, publish

_SPARE_SHARE = 0.1
"""Of the free disk, left until it counts as full: more than what an alarm wants back before it ends."""
_SILENCE_SECONDS = 2.8
"""More than the two heartbeat intervals after which a silent client is dropped."""


@pytest.fixture
def tight() -> Iterator[LocalCluster]:
    """One node whose disk is nearly full."""
    cluster = LocalCluster(nodes=1)
    free_min = int(shutil.disk_usage(cluster.directory).free * (1 - _SPARE_SHARE))
    with cluster.nodes[0].config_path.open("a", encoding="utf-8") as config:
        config.write(f"\n[limits]\ndisk_free_min = {free_min}\n")
    with cluster:
        yield cluster


def test_a_publisher_is_blocked_while_the_disk_is_full_and_a_consumer_is_not(tight: LocalCluster) -> None:
    with Wire(tight.port(0)) as publisher, Wire(tight.port(0)) as consumer:
        publisher.open(1, heartbeat=1)
        consumer.open(1)
        publisher.call(m.QueueDeclare("q", False, True, False, False, False, {}))
        publisher.expect(m.QueueDeclareOk)
        publisher.call(m.ConfirmSelect(False))
        publisher.expect(m.ConfirmSelectOk)
        publisher.send(publish("", "q", b"before"))
        assert publisher.expect(m.BasicAck).delivery_tag == 1

        filler = tight.directory / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, int(1.5 * _SPARE_SHARE * shutil.disk_usage(tight.directory).free))
        tag = 1
        while True:
            tag += 1
            publisher.send(publish("", "q", b"during"))
            first, second = publisher.method(), None
            if isinstance(first[1], m.BasicAck):
                continue
            assert first == (0, m.ConnectionBlocked("low on disk"))
            second = publisher.expect(m.BasicAck)
            assert second.delivery_tag == tag
            break
        publisher.send(publish("", "q", b"waits"))
        deadline = time.monotonic() + _SILENCE_SECONDS
        while time.monotonic() < deadline:
            publisher.send(HEARTBEAT_FRAME)
            assert publisher.frame().payload == b""
        for number in range(tag):
            consumer.call(m.BasicGet("q", False))
            assert consumer.message(m.BasicGetOk).body == (b"during" if number else b"before")
            consumer.call(m.BasicAck(number + 1, False))
        consumer.call(m.BasicGet("q", False))
        consumer.expect(m.BasicGetEmpty)

        filler.unlink()
        assert publisher.method() == (0, m.ConnectionUnblocked())
        assert publisher.expect(m.BasicAck).delivery_tag == tag + 1
        consumer.call(m.BasicGet("q", True))
        assert consumer.message(m.BasicGetOk).body == b"waits"
