"""The tasks of a Celery application, for its workers and its caller alike.

    BROKER_URL RESULT_DIRECTORY NAME come by the environment (CLIENTS_*); results go back over rpc://, and a chord's,
    which rpc:// cannot join, over files.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from kombu import Queue

NAME = os.environ["CLIENTS_NAME"]
BACKEND = os.environ.get("CLIENTS_BACKEND", "rpc://")

app = Celery(NAME, broker=os.environ["CLIENTS_BROKER_URL"], backend=BACKEND)
app.conf.update(
    task_default_queue=NAME,
    task_queues=[Queue(NAME, routing_key=NAME, durable=True, queue_arguments={"x-queue-type": os.environ.get("CLIENTS_QUEUE_TYPE", "classic")})],
    task_default_routing_key=NAME,
    task_publish_retry=True,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    broker_heartbeat=10,
    result_expires=60,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def stubborn(self: Task, fails: int) -> int:
    """Succeeds after `fails` retries; returns how many there were."""
    if self.request.retries < fails:
        raise self.retry(countdown=0.1)
    return int(self.request.retries)


@app.task
def when() -> float:
    """Unix seconds at which it ran."""
    return time.time()


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def linger(self: Task, began: str, go_on: str) -> dict[str, Any]:
    """Says that it began, and goes on when it may."""
    with Path(began).open("a", encoding="utf-8") as file:
        file.write(f"{self.request.hostname}\n")
    deadline = time.monotonic() + 30
    while not Path(go_on).exists():
        assert time.monotonic() < deadline, "nobody let it go on"
        time.sleep(0.02)
    return {"redelivered": self.request.delivery_info["redelivered"], "worker": self.request.hostname}


@app.task
def broken() -> None:
    raise ValueError("broken on purpose")
