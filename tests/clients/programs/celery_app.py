"""The tasks of a Celery application, for its workers and its caller alike.

Its environment: CLIENTS_NAME, of its queue; CLIENTS_BROKERS, URLs of nodes to try in turn, apart by ";";
CLIENTS_QUEUE_TYPE, "classic" or "quorum"; CLIENTS_RESULTS, the URL of its result backend.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from kombu import Queue

NAME = os.environ["CLIENTS_NAME"]
LINGER_SECONDS = 30.0

app = Celery(NAME, broker=os.environ["CLIENTS_BROKERS"], backend=os.environ["CLIENTS_RESULTS"])
app.conf.update(
    task_default_queue=NAME,
    task_default_exchange_type="topic",
    task_default_routing_key=NAME,
    task_queues=[
        Queue(NAME, routing_key=NAME, queue_arguments={"x-queue-type": os.environ["CLIENTS_QUEUE_TYPE"]}),
    ],
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=2.0,
    worker_prefetch_multiplier=1,
)


@app.task(name="add", shared=False)
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="total", shared=False)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="stubborn", shared=False, bind=True, max_retries=3)
def stubborn(self: Task, fails: int) -> int:
    """Succeeds after `fails` retries; returns how many there were."""
    if self.request.retries < fails:
        raise self.retry(countdown=0.1)
    return int(self.request.retries)


@app.task(name="broken", shared=False)
def broken() -> None:
    raise ValueError("broken on purpose")


@app.task(name="when", shared=False)
def when() -> float:
    """Unix seconds at which it ran."""
    return time.time()


@app.task(name="linger", shared=False, bind=True, acks_late=True)
def linger(self: Task, began: str, go_on: str) -> dict[str, Any]:
    """Notes in a file which worker it is, and goes on when another file is there."""
    with Path(began).open("a", encoding="utf-8") as file:
        file.write(f"{self.request.hostname}\n")
    deadline = time.monotonic() + LINGER_SECONDS
    while not Path(go_on).exists():
        assert time.monotonic() < deadline, "nobody let it go on"
        time.sleep(0.02)
    return {"worker": self.request.hostname, "redelivered": self.request.delivery_info["redelivered"]}
