"""C: the command-line tools of librabbitmq, as Debian packages them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Urls
from tests.clients.foreign import SCENE_SECONDS, Telling, need, succeed
from tests.cluster.clients import consume, drain
from tests.cluster.harness import LocalCluster

TOOLS = ("amqp-declare-queue", "amqp-delete-queue", "amqp-publish", "amqp-consume", "amqp-get")


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    for tool in TOOLS:
        need(tool, "amqp-tools")


def refused(command: list[str]) -> str:
    """What a command that must fail says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=SCENE_SECONDS, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_they_declare_publish_and_get_each_through_another_node(urls: Urls, name: str) -> None:
    here, there, third = urls
    assert succeed(["amqp-declare-queue", "-u", here, "-d", "-q", name]).strip() == name
    for body in ("one", "two"):
        succeed(["amqp-publish", "-u", there, "-r", name, "-p", "-b", body, "-C", "text/plain", "-H", "origin: C"])
    assert succeed(["amqp-get", "-u", third, "-q", name]) == "one"
    assert succeed(["amqp-delete-queue", "-u", here, "-q", name]).strip() == "1"


def test_an_empty_queue_gives_nothing_and_says_so_with_its_exit_code(urls: Urls, name: str) -> None:
    succeed(["amqp-declare-queue", "-u", urls[0], "-q", name])
    command = ["amqp-get", "-u", urls[1], "-q", name]
    done = subprocess.run(command, capture_output=True, timeout=SCENE_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    succeed(["amqp-delete-queue", "-u", urls[2], "-q", name])


def test_a_consumer_acks_what_its_command_took_and_leaves_the_rest(urls: Urls, name: str) -> None:
    here, there, _ = urls
    succeed(["amqp-declare-queue", "-u", here, "-d", "-q", name])
    lines = "".join([f"{n}\n" for n in range(5)])
    succeed(["amqp-publish", "-u", here, "-r", name, "-p", "-l"], body=lines)
    taken = succeed(["amqp-consume", "-u", there, "-q", name, "-p", "2", "-c", "3", "cat"])
    assert taken == "0\n1\n2\n"
    assert succeed(["amqp-get", "-u", here, "-q", name]) == "3\n"
    assert succeed(["amqp-delete-queue", "-u", there, "-q", name]).strip() == "1"


def test_a_message_whose_command_failed_comes_again_and_says_so(
    urls: Urls, cluster: LocalCluster, tmp_path: Path, name: str
) -> None:
    failing = tmp_path / "fail"
    failing.write_text("#!/bin/sh\ncat\nexit 1\n")
    failing.chmod(0o700)
    succeed(["amqp-declare-queue", "-u", urls[0], "-d", "-q", name])
    succeed(["amqp-publish", "-u", urls[0], "-r", name, "-p", "-b", "7"])
    assert succeed(["amqp-consume", "-u", urls[1], "-q", name, "-c", "1", str(failing)]) == "7"
    connection = cluster.connect(0)
    consuming = consume(connection, name, prefetch_count=1)
    assert drain(consuming, 1) == [(7, True)]
    consuming.channel.queue_delete(name)
    connection.close()


def test_a_server_named_queue_is_bound_to_an_exchange_and_fed_through_another_node(urls: Urls, name: str) -> None:
    command = ["amqp-consume", "-u", urls[0], "-e", "amq.topic", "-r", f"{name}.*", "-x", "-A", "-c", "1", "cat"]
    with Telling(command) as consumer:
        consumer.until(lambda said: any("amq.gen-" in line for line in said), "the server has named its queue")
        queue = next(line for line in consumer.lines if "amq.gen-" in line).split()[-1]
        assert "RESOURCE_LOCKED" in refused(["amqp-get", "-u", urls[1], "-q", queue])
        succeed(["amqp-publish", "-u", urls[1], "-e", "amq.topic", "-r", f"{name}.a", "-b", "fed\n"])
        consumer.ends()
        assert consumer.lines[-1] == "fed"
    assert "NOT_FOUND" in refused(["amqp-get", "-u", urls[2], "-q", queue])


def test_they_show_the_code_and_text_of_refusals(urls: Urls, name: str) -> None:
    missing = refused(["amqp-get", "-u", urls[0], "-q", name])
    assert f"404, message: NOT_FOUND - no queue '{name}' in vhost '/'" in missing
    succeed(["amqp-declare-queue", "-u", urls[0], "-d", "-q", name])
    unequal = refused(["amqp-declare-queue", "-u", urls[1], "-q", name])
    assert f"406, message: PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{name}' in vhost '/'" in unequal
    succeed(["amqp-delete-queue", "-u", urls[2], "-q", name])
    wrong = urls[0].replace("guest:guest", "guest:wrong")
    assert "403" in refused(["amqp-get", "-u", wrong, "-q", name])
