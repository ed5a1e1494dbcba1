"""How long a client may hold a delivery where its queue does not say."""

from __future__ import annotations

from typing import Any

import pika.exceptions

from tests.cluster.clients import PATIENCE_SECONDS
from tests.cluster.harness import LocalCluster, wait_until


def test_a_client_that_holds_a_delivery_for_too_long_loses_its_channel() -> None:
    running = LocalCluster(1)
    with running.nodes[0].config_path.open("a") as config:
        config.write("\n[limits]\nconsumer_timeout_seconds = 0.5\n")
    with running:
        connection: Any = running.connect(0)
        channel = connection.channel()
        channel.queue_declare("slow", durable=True)
        channel.basic_publish("", "slow", b"x")
        reasons: list[Exception] = []
        channel.add_on_cancel_callback(lambda _: None)
        channel._impl.add_on_close_callback(lambda _, reason: reasons.append(reason))
        channel.basic_consume("slow", lambda *_: None)

        def closed() -> bool:
            connection.process_data_events(0.05)
            return bool(reasons)

        wait_until(closed, "the channel is closed", PATIENCE_SECONDS)
        (reason,) = reasons
        assert isinstance(reason, pika.exceptions.ChannelClosedByBroker)
        assert (reason.reply_code, reason.reply_text) == (
            406,
            "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 500 ms."
            " This timeout value can be configured, see consumers doc guide to learn more",
        )
        again = connection.channel()
        got: list[Any] = []

        def is_back() -> bool:
            got[:] = again.basic_get("slow")
            return got[0] is not None

        wait_until(is_back, "the message comes back", PATIENCE_SECONDS)
        assert (got[0].redelivered, got[2]) == (True, b"x")
        connection.close()
