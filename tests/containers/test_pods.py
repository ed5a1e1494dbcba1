"""The image as Kubernetes would run it, through what happens to pods: ends, faults, moves, and a whole outage."""

from __future__ import annotations

import json
import time
from itertools import permutations
from pathlib import Path

import pika
import pytest
import yaml

from tests.cluster.haproxy import Server, haproxy
from tests.cluster.harness import HOST
from tests.cluster.steady_load import SteadyLoad, received, unhurried
from tests.containers.pods import AMQP, CREDENTIALS, HEALTHY_SECONDS, HTTP, Pod, Pods, wait_until
from tests.deploy.manifests import BASE

pytestmark = pytest.mark.timeout(240)
GAP_SECONDS = 2.0
FAILOVER_SECONDS = 4.0
"""Without a confirm when a leader fails without a word."""
STOP_SECONDS = 15


def load_on(pods: Pods, queue: str, *on: Pod) -> SteadyLoad:
    """Through those of these pods, or of all, that are ready."""
    return SteadyLoad(lambda: [(pod.endpoint, AMQP) for pod in on or pods.pods if pod.endpoint], queue, CREDENTIALS)


def test_pods_that_start_together_form_one_healthy_cluster_without_writing_to_their_root(pods: Pods) -> None:
    for pod in pods.pods:
        assert "HEALTHY   3/3 nodes up" in pod.carry_out("status")
        assert pod.container.exec_run(["id", "-u"])[1] == b"10001\n"
        assert pod.container.exec_run(["touch", "/written"])[0] != 0
        assert pod.container.attrs["HostConfig"]["ReadonlyRootfs"]


def test_a_rolling_restart_as_kubernetes_does_it_loses_nothing_and_holds_nobody_up_for_long(pods: Pods) -> None:
    """preStop, SIGTERM, start with the same volume, readiness; the highest ordinal first."""
    gaps = []
    with load_on(pods, "rolled") as load:
        for index in (2, 1, 0):
            load.settle()
            pod = pods[index]
            pod.carry_out("await", "quorum-plus-one")
            pod.carry_out("drain", "--wait")
            assert not pod.ready
            began = time.monotonic()
            pod.container.stop(timeout=STOP_SECONDS)
            assert time.monotonic() - began < STOP_SECONDS - 5
            pod.container.reload()
            assert pod.container.attrs["State"]["ExitCode"] == 0, pod.log()[-2000:]
            pod.container.start()
            pods.wait_ready(index)
            gaps.append(load.gap())
        load.settle()
    print("gaps:", [round(gap, 2) for gap in gaps], "confirmed:", len(load.confirmed))
    assert max(gaps) < unhurried(GAP_SECONDS)
    assert load.confirmed <= received(pods[0].connect(), "rolled", load.confirmed)


@pytest.mark.parametrize("fault", ["kill", "freeze", "cut off"])
def test_a_leader_that_fails_without_a_word_costs_a_short_pause_and_nothing_confirmed(pods: Pods, fault: str) -> None:
    queue = f"through-{fault}"
    with pods[0].connect() as connection:
        connection.channel().queue_declare(queue, durable=True)
    victim = pods.leader(queue)
    others = [pod for pod in pods.pods if pod is not victim]
    with load_on(pods, queue, *others) as load:
        match fault:
            case "kill":
                victim.container.kill()
            case "freeze":
                # Docker's own pause fails now and then where cgroups are of version 1 and the machine is busy.
                victim.container.kill("SIGSTOP")
            case "cut off":
                victim.cut_off()
        gap = load.settle(50)
        match fault:
            case "kill":
                victim.container.start()
            case "freeze":
                victim.container.kill("SIGCONT")
            case "cut off":
                victim.join_again()
        pods.wait_healthy()
        load.settle()
    print(f"gap: {gap:.2f} s")
    assert gap < unhurried(FAILOVER_SECONDS)
    assert load.confirmed <= received(victim.connect(), queue, load.confirmed)


def test_clients_of_a_load_balancer_are_sent_on_when_pods_end_or_are_drained(pods: Pods, tmp_path: Path) -> None:
    servers = [Server(pod.address, AMQP, HTTP) for pod in pods.pods]
    with (
        haproxy(servers, tmp_path, sends_addresses=False) as port,
        SteadyLoad(lambda: [(HOST, port)], "balanced", CREDENTIALS) as load,
    ):
        pods[0].container.kill()
        load.settle(50)
        pods[0].container.start()
        pods.wait_healthy()
        pods[1].carry_out("drain", "--wait")
        load.settle(50)
        pods[1].carry_out("revive")
        pods.wait_healthy()
        load.settle()
    assert load.confirmed <= received(pods[1].connect(), "balanced", load.confirmed)


def test_a_pod_that_comes_back_at_another_address_is_found_by_its_name(pods: Pods) -> None:
    pod = pods[1]
    before = pod.address
    pod.remove()
    # Somebody else gets the address that is free now.
    other = pods.engine.containers.run(
        pods.image, ["-c", "sleep 600"], entrypoint="sh", detach=True, network=pods.network.name
    )
    try:
        pod.create()
        pods.wait_healthy()
        assert pod.address != before
        with load_on(pods, "moved", pod) as load:
            load.settle(50)
        assert load.confirmed <= received(pods[2].connect(), "moved", load.confirmed)
    finally:
        other.remove(force=True)


def test_a_pod_whose_volume_is_lost_receives_everything_again_and_nothing_confirmed_is_lost(pods: Pods) -> None:
    with load_on(pods, "kept-by-others") as load:
        load.settle(50)
        pods[2].lose_volume()
        pods[2].create()
        pods.wait_healthy()
        load.settle()
    pods[0].carry_out("await", "quorum-plus-one", pods[0].name)
    assert load.confirmed <= received(pods[2].connect(), "kept-by-others", load.confirmed)


def test_one_more_pod_joins_by_itself_and_one_that_is_removed_is_not_missed(pods: Pods) -> None:
    with load_on(pods, "grown") as load:
        joined = pods.scale_up()
        pods.wait_healthy()
        assert "4/4 nodes up" in pods[0].carry_out("status")
        load.settle()
        _scale_to_three(pods, joined)
        load.settle()
        # Scaled up again, it finds its old volume, which is that of a former member.
        pods.pods.append(joined)
        joined.container.start()
        wait_until(lambda: _started(joined) and joined.ready, "it joins anew", HEALTHY_SECONDS)
        assert "4/4 nodes up" in pods[0].carry_out("status")
        _scale_to_three(pods, joined)
        joined.give_up()
        load.settle()
    assert load.confirmed <= received(pods[1].connect(), "grown", load.confirmed)


def _scale_to_three(pods: Pods, last: Pod) -> None:
    """As the documentation has it: the node goes, then the pod, whose volume stays."""
    assert f"{last.name} has left the cluster" in pods[0].carry_out("nodes", "scale", "3")
    pods.pods.remove(last)
    last.container.stop(timeout=STOP_SECONDS)
    pods.wait_healthy()
    assert "3/3 nodes up" in pods[0].carry_out("status")


def _is_everywhere(pods: Pods) -> bool:
    groups = json.loads(pods[0].clusterctl("status", "--json")[1])["groups"]
    return all(
        len(group["members"]) == len(pods.pods) and all(m["voter"] for m in group["members"]) for group in groups
    )


def _started(pod: Pod) -> bool:
    """As Kubernetes does it: a container that has ended is started again."""
    pod.container.reload()
    if pod.container.status == "exited":
        pod.container.start()
    return True


def test_a_whole_outage_ends_whatever_the_order_of_the_starts(pods: Pods) -> None:
    connection = pods[0].connect()
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True)
    orders = list(permutations(range(3)))
    for number, order in enumerate(orders):
        channel.basic_publish("", "kept", b"%d" % number, pika.BasicProperties(delivery_mode=2), mandatory=True)
        for pod in pods.pods:
            pod.container.kill()
        for index in order:
            pods[index].container.start()
        pods.wait_ready()
        channel = pods[order[2]].connect().channel()
        channel.confirm_delivery()
    assert received(pods[0].connect(), "kept", set(range(len(orders)))) == set(range(len(orders)))


def test_of_the_one_volume_that_is_left_a_cluster_is_made_which_empty_pods_join(pods: Pods) -> None:
    """The last one here: it is another cluster afterwards."""
    # Who came late to the founding gets its replicas one after the other.
    wait_until(lambda: _is_everywhere(pods), "every shard on every pod", HEALTHY_SECONDS)
    # With two of three alive, whatever is confirmed is on both.
    pods[0].container.kill()
    channel = pods[2].connect().channel()
    channel.confirm_delivery()
    channel.queue_declare("last", durable=True)
    for number in range(20):
        channel.basic_publish("", "last", b"%d" % number, pika.BasicProperties(delivery_mode=2), mandatory=True)
    for pod in (pods[1], pods[2]):
        pod.container.kill()
    for pod in (pods[0], pods[1]):
        pod.lose_volume()
    recovering = yaml.safe_load((BASE / "recover.yaml").read_text())
    code, told = pods[2].run_on_volume(recovering)
    assert (code, "Nothing was changed." in told) == (2, True), told
    code, told = pods[2].run_on_volume(recovering, "--accept-loss")
    assert (code, f"{pods[2].name} is the only member" in told) == (0, True), told
    print(told)
    pods.extra["CLUSTER_MQ_CLUSTER__MAY_FOUND"] = "false"
    for pod in (pods[0], pods[1]):
        pod.create()
    # More than enough for two of three to found a cluster, if they might.
    wait_until(lambda: "waiting for a member of the cluster" in pods[0].log(), "they wait")
    pods[2].container.start()
    pods.wait_healthy()
    assert received(pods[0].connect(), "last", set(range(20))) == set(range(20))
