"""Which policy holds, and what it makes of a queue."""

import pytest

from cluster.broker.catalog import policies
from cluster.broker.catalog.commands import DeletePolicy, DeleteUser, DeleteVhost, PutPolicy, RemoveMember
from cluster.broker.catalog.outcome import PoliciesChanged, Refused
from tests.broker.catalog.build import Founded, bind, channel, exchange, queue


def policy(name="p", pattern=".*", apply_to="queues", priority=0, operator=False, **definition):
    """Settings are named with _ for -."""
    pairs = tuple((key.replace("_", "-"), value) for key, value in definition.items())
    return PutPolicy("/", name, pattern, apply_to, priority, pairs, operator)


def settings_of(cluster, name):
    return cluster.catalog.queue_settings(cluster.catalog.queue("/", name))


def test_the_highest_priority_holds_alone_and_the_first_name_among_equals(cluster):
    cluster.ok(
        queue("q"),
        policy("low", priority=1, max_length=1, overflow="drop-head"),
        policy("b", priority=2, max_length=2),
        policy("a", priority=2, max_length=3),
    )
    assert settings_of(cluster, "q") == {"max-length": 3}
    assert cluster.catalog.vhosts["/"].policies.matching_queue(
        cluster.catalog.queue("/", "q"), operator=False
    ).name == ("a")


def test_a_policy_holds_for_the_names_and_kinds_it_says(cluster):
    cluster.ok(
        queue("in.q"),
        queue("out"),
        queue("in.quorum", x_queue_type="quorum"),
        policy("all", "^in", "all", 0, max_length=1),
        policy("quorum", "^in", "quorum_queues", 1, max_length=2),
        policy("exchanges", ".*", "exchanges", 9, alternate_exchange="x"),
    )
    assert settings_of(cluster, "in.q") == {"max-length": 1}
    assert settings_of(cluster, "out") == {}
    assert settings_of(cluster, "in.quorum") == {"max-length": 2}


def test_numbers_take_the_smaller_and_the_rest_goes_by_rank(cluster):
    cluster.ok(
        queue("q", x_message_ttl=100, x_max_length=50, x_dead_letter_exchange="mine"),
        policy(message_ttl=10, max_length=500, dead_letter_exchange="theirs", overflow="reject-publish"),
        policy(operator=True, max_length=20, overflow="drop-head", expires=7),
    )
    assert settings_of(cluster, "q") == {
        "message-ttl": 10,
        "max-length": 20,
        "dead-letter-exchange": "mine",
        "overflow": "drop-head",
        "expires": 7,
    }


def test_a_policy_gives_an_exchange_its_alternate_and_takes_it_away(cluster):
    cluster.ok(exchange("x"), exchange("declared", alternate_exchange="nope"), queue("q"), bind("amq.fanout", "q"))
    assert cluster.routed("x", "k") == []
    outcome = cluster.apply(policy(apply_to="exchanges", alternate_exchange="amq.fanout"))
    assert outcome.changes == (PoliciesChanged("/"),)
    assert cluster.routed("x", "k") == ["q"]
    assert cluster.routed("declared", "k") == [], "the argument comes before the policy"
    cluster.ok(exchange("later"))
    assert cluster.routed("later", "k") == ["q"]
    cluster.ok(DeletePolicy("/", "p"))
    assert cluster.routed("x", "k") == []


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (policy(max_fun=1), "'max-fun' of policy 'p' is not a recognised setting"),
        (policy(max_length=-1), "'max-length' of policy 'p' must be a whole number >= 0"),
        (policy(max_length="1"), "'max-length' of policy 'p' must be a whole number >= 0"),
        (policy(max_length=True), "'max-length' of policy 'p' must be a whole number >= 0"),
        (policy(overflow=1), "'overflow' of policy 'p' must be a string"),
        (
            policy(overflow="a"),
            "'overflow' of policy 'p' must be one of drop-head, reject-publish, reject-publish-dlx",
        ),
        (policy(), "policy 'p' has an empty definition"),
        (
            policy(apply_to="streams", max_length=1),
            "apply-to of policy 'p' must be one of queues, exchanges, all, classic_queues, quorum_queues",
        ),
    ],
)
def test_a_policy_that_says_nothing_understandable_is_refused(cluster, command, detail):
    assert cluster.apply(command) == Refused(b"id", channel(406, f"PRECONDITION_FAILED - {detail}"))


def test_what_is_gone_already_is_deleted(cluster):
    version = cluster.catalog.version
    cluster.ok(DeletePolicy("/", "p", operator=True), DeleteUser("nobody"), DeleteVhost("nope"), RemoveMember(9))
    assert cluster.catalog.version == version


NEAR = policy(pattern="^near", queue_leader_locator="client-local")


def test_a_policy_leads_new_queues_where_their_clients_are(cluster):
    cluster.ok(NEAR)
    commands = [queue("near.1", home=3), queue("near.2", home=3), queue("far", home=3), queue("near.3", home=2)]
    assert [cluster.ok(cluster.catalog.to_propose(command)).shard for command in commands] == [3, 3, 1, 2]


def test_an_argument_says_it_before_a_policy(cluster):
    cluster.ok(NEAR)
    far = queue("near.1", home=3, x_queue_leader_locator="balanced", x_queue_type="quorum")
    near = queue("far", home=3, x_queue_leader_locator="client-local", x_queue_type="quorum")
    assert [cluster.ok(cluster.catalog.to_propose(command)).shard for command in (far, near)] == [1, 3]


@pytest.mark.parametrize("matches_at_the_leader", [True, False])
def test_a_replica_that_gives_a_pattern_up_puts_a_queue_where_the_others_do(monkeypatch, matches_at_the_leader):
    leader, replica = Founded(), Founded()
    for one in (leader, replica):
        one.ok(NEAR)
    monkeypatch.setattr(policies, "pattern_matches", lambda *_: matches_at_the_leader)
    command = leader.catalog.to_propose(queue("near", home=3))
    assert leader.ok(command).shard == (3 if matches_at_the_leader else 1)
    monkeypatch.setattr(policies, "pattern_matches", lambda *_: not matches_at_the_leader)
    replica.ok(command)
    assert replica.catalog.state_hash() == leader.catalog.state_hash()


def test_what_an_older_leader_has_proposed_goes_by_the_policies_of_the_copy(cluster):
    cluster.ok(NEAR)
    assert cluster.ok(queue("near", home=3, incarnation=1)).shard == 3
