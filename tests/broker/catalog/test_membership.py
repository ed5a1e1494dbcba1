"""The cluster's founding, its members, the places of its shards, vhosts."""

from dataclasses import replace

import msgpack
import pytest

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.commands import (
    KEEP_STATE,
    AdmitMember,
    DeleteVhost,
    PlaceShard,
    PutMember,
    PutSetting,
    PutVhost,
    RemoveMember,
    SetPermissions,
    SurviveAlone,
)
from cluster.broker.catalog.ids import GroupId, NodeId
from cluster.broker.catalog.outcome import MemberChanged, QueueDeleted, Refused, ShardPlaced, VhostDeleted
from cluster.broker.catalog.state import Member, MemberState
from tests.broker.catalog.build import FOUND, Founded, channel, queue


def told(outcome):
    assert isinstance(outcome, Refused)
    return outcome.error


def failed(detail):
    return channel(406, f"PRECONDITION_FAILED - {detail}")


def test_founding_makes_members_shards_vhost_and_administrator(cluster):
    catalog = cluster.catalog
    assert (catalog.cluster_id, catalog.cluster_name) == ("c-1", "orders")
    assert catalog.members[NodeId(2)] == Member(NodeId(2), "mq-2", "10.0.0.2", 25672, MemberState.ACTIVE)
    assert catalog.placement[GroupId(3)] == (3, 1, 2)
    assert catalog.users["guest"].tags == ("administrator",)
    assert list(catalog.vhosts) == ["/"]
    catalog.checks.open_vhost("guest", "/", vhost_connections=0, user_connections=0)
    catalog.checks.publish("guest", "/", "", "k")


def test_a_cluster_is_founded_once(cluster):
    before = cluster.catalog.version
    cluster.ok(FOUND)
    assert cluster.catalog.version == before
    assert told(cluster.apply(replace(FOUND, cluster_id="c-2"))) == failed("the cluster is founded already, as c-1")


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"cluster_id": ""}, "a cluster needs an id, members and shards"),
        ({"placement": ()}, "a cluster needs an id, members and shards"),
        ({"placement": ((1, (1, 9)),)}, "shard 1 is not placed on members"),
        ({"placement": ((0, (1,)),)}, "shard 0 is not placed on members"),
    ],
)
def test_a_founding_that_cannot_stand_is_refused(wrong, detail):
    catalog = Catalog()
    assert told(catalog.apply(1, encode_command(replace(FOUND, **wrong)))) == failed(detail)
    assert catalog.cluster_id == ""


def test_a_member_joins_moves_and_leaves_and_its_id_is_not_given_again(cluster):
    assert cluster.catalog.next_node == 4
    assert cluster.apply(PutMember(4, "mq-4", "h", 1, 0)).changes == (MemberChanged(NodeId(4)),)
    cluster.ok(PutMember(4, "mq-4", "h2", 2, 1))
    assert cluster.catalog.members[NodeId(4)] == Member(NodeId(4), "mq-4", "h2", 2, MemberState.ACTIVE)
    lost = cluster.ok(queue("t", durable=False, home=4))
    assert cluster.apply(RemoveMember(4)).changes == (QueueDeleted(lost), MemberChanged(NodeId(4)))
    assert told(cluster.apply(PutMember(4, "mq-4", "h", 1, 0))) == failed("node id 4 was used before")
    assert cluster.catalog.next_node == 5
    assert told(cluster.apply(queue("t", durable=False, home=4))) == failed(
        "node 4 lost queue 't' in vhost '/' before it was declared"
    )


def test_a_member_that_cannot_be_is_refused(cluster):
    assert told(cluster.apply(PutMember(4, "mq-1", "h", 1, 0))) == failed("node name 'mq-1' is that of node 1")
    assert told(cluster.apply(PutMember(4, "mq-4", "h", 1, 7))) == failed("member state 7 does not exist")
    assert told(cluster.apply(RemoveMember(2))) == failed("node 2 holds a replica of shard 1")


def test_who_joins_gets_the_next_id_and_asking_again_changes_nothing(cluster):
    assert cluster.apply(AdmitMember("mq-9", "h", 1, "t")).changes == (MemberChanged(NodeId(4)),)
    assert cluster.apply(AdmitMember("mq-9", "h", 1, "t")).changes == ()
    assert cluster.catalog.members[NodeId(4)] == Member(NodeId(4), "mq-9", "h", 1, MemberState.JOINING, "t")
    cluster.ok(PutMember(4, "mq-9", "h2", 2, KEEP_STATE))
    assert cluster.catalog.members[NodeId(4)] == Member(NodeId(4), "mq-9", "h2", 2, MemberState.JOINING, "t")
    copy = Catalog()
    copy.restore(cluster.catalog.snapshot())
    assert copy.members == cluster.catalog.members


def test_a_member_that_comes_with_another_directory_is_another_member(cluster):
    cluster.ok(AdmitMember("mq-2", "h", 1, "t"))
    members = cluster.catalog.members
    assert members[NodeId(2)].state is MemberState.GONE
    assert (members[NodeId(4)].name, members[NodeId(4)].state) == ("mq-2", MemberState.JOINING)
    cluster.ok(PutMember(4, "mq-2", "h", 1, 1))
    assert told(cluster.apply(PutMember(2, "mq-2b", "h", 1, 1))) == failed(
        "node 2 has lost its data and does not come back"
    )
    assert told(cluster.apply(AdmitMember("mq-7", "h", 1, ""))) == failed(
        "who joins a cluster needs a name and a directory"
    )


def test_a_snapshot_without_joined_members_can_be_read_by_an_older_program(cluster):
    assert msgpack.unpackb(cluster.catalog.snapshot(), strict_map_key=False)[0] == 2
    cluster.ok(AdmitMember("mq-9", "h", 1, "t"))
    assert msgpack.unpackb(cluster.catalog.snapshot(), strict_map_key=False)[0] == 3


def test_the_only_survivor_is_left_with_everything_and_no_id_is_given_again(cluster):
    lost = cluster.ok(queue("t", durable=False, home=2))
    kept = cluster.ok(queue("d"))
    cluster.ok(SurviveAlone("c-2", 3, "mq-3"))
    catalog = cluster.catalog
    assert (catalog.cluster_id, list(catalog.members), catalog.next_node) == ("c-2", [3], 4)
    assert set(catalog.placement.values()) == {(3,)}
    assert (lost.id in catalog.queues, kept.id in catalog.queues) == (False, True)
    # A node whose name another one had taken is a member again; one that never was cannot be.
    cluster.ok(AdmitMember("mq-3", "h", 1, "t"), SurviveAlone("c-3", 3, "mq-3"))
    assert catalog.members[NodeId(3)].state is MemberState.ACTIVE
    assert told(cluster.apply(SurviveAlone("c-4", 9, "x"))) == failed("only a member of a cluster can be left of it")


def test_a_shard_is_placed_on_members(cluster):
    cluster.ok(PutMember(4, "mq-4", "h", 1, 0))
    assert cluster.apply(PlaceShard(1, (1, 3, 4))).changes == (ShardPlaced(GroupId(1), (1, 3, 4)),)
    assert cluster.catalog.placement[GroupId(1)] == (1, 3, 4)
    assert told(cluster.apply(PlaceShard(1, (1, 9)))) == channel(404, "NOT_FOUND - no node 9")
    assert told(cluster.apply(PlaceShard(1, (1, 1)))) == failed("shard 1 needs replicas on different members")
    assert told(cluster.apply(PlaceShard(0, (1,)))) == failed("shard 0 needs replicas on different members")


def test_a_new_shard_takes_the_next_queues(cluster):
    cluster.ok(*[queue(f"q{n}") for n in range(3)], PlaceShard(4, (1, 2, 3)))
    assert cluster.ok(queue("q3")).shard == 4


def test_settings_are_put_and_cleared(cluster):
    cluster.ok(PutSetting("a", 1), PutSetting("b", "x"), PutSetting("a", None))
    assert cluster.catalog.settings == {"b": "x"}


def test_deleting_a_vhost_takes_everything_in_it(cluster):
    cluster.ok(PutVhost("v", "a vhost", "tag"), SetPermissions("guest", "v", ".*", ".*", ".*"))
    made = cluster.ok(queue("q", vhost="v"))
    assert cluster.apply(DeleteVhost("v")).changes == (QueueDeleted(made), VhostDeleted("v"))
    assert made.id not in cluster.catalog.queues
    cluster.ok(PutVhost("v"))
    assert cluster.catalog.queue("v", "q") is None


def test_the_vhosts_default_type_is_given_where_it_can_be(cluster):
    cluster.ok(PutVhost("v", default_queue_type="quorum"))
    assert cluster.ok(queue("a", vhost="v")).type == "quorum"
    assert cluster.ok(queue("b", vhost="v", durable=False)).type == "classic"
    assert cluster.ok(queue("c", vhost="v", exclusive=True)).type == "classic"
    assert cluster.ok(queue("d", vhost="v", x_queue_type="classic")).type == "classic"
    assert told(cluster.apply(PutVhost("w", default_queue_type="bogus"))) == failed("unsupported queue type 'bogus'")


def test_before_its_founding_a_catalog_is_empty():
    cluster = Founded()
    empty = Catalog()
    assert (empty.cluster_id, dict(empty.members), dict(empty.vhosts), empty.version) == ("", {}, {}, 0)
    empty.restore(cluster.catalog.snapshot())
    assert empty.state_hash() == cluster.catalog.state_hash()
