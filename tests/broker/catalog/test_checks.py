"""What is judged before a command is proposed is what happens when it is applied, once or twice."""

import random

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.ids import ConnectionId
from cluster.broker.catalog.outcome import Refused
from cluster.broker.errors import BrokerError
from tests.broker.catalog.build import Founded
from tests.broker.catalog.random_commands import random_command


def contents(cluster):
    """The state without what counts commands."""
    rows = msgpack.unpackb(cluster.catalog.snapshot())
    return rows[0], rows[1][2:], rows[2:]


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 50))
def test_repeating_a_command_at_once_does_nothing_more(seed, count):
    choices = random.Random(seed)
    cluster = Founded()
    for _ in range(count):
        command = random_command(choices)
        outcome = cluster.apply(command)
        before = contents(cluster)
        again = cluster.apply(command)
        assert isinstance(again, Refused) is isinstance(outcome, Refused)
        assert contents(cluster) == before


def judged(checks, command, owner):
    """(whether to propose) for the commands that have a check, as the broker itself; None for others."""
    match command:
        case c.DeclareExchange():
            return checks.declare_exchange(None, command) is None
        case c.DeleteExchange():
            return checks.delete_exchange(None, command)
        case c.BindQueue():
            return checks.bind_queue(None, command, owner)
        case c.UnbindQueue():
            return checks.unbind_queue(None, command, owner)
        case c.BindExchange():
            return checks.bind_exchange(None, command)
        case c.UnbindExchange():
            return checks.unbind_exchange(None, command)
        case c.DeclareQueue():
            return checks.declare_queue(None, command) is None
    return None


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_a_check_says_what_applying_the_command_does(seed, count):
    choices = random.Random(seed)
    cluster = Founded()
    for _ in range(count):
        command = random_command(choices)
        owner = ConnectionId("")
        if isinstance(command, c.BindQueue | c.UnbindQueue) and command.vhost in cluster.catalog.vhosts:
            queue = cluster.catalog.queue(command.vhost, command.queue)
            owner = queue.owner if queue else owner
        version = cluster.catalog.version
        refusal = None
        try:
            needed = judged(cluster.catalog.checks, command, owner)
        except BrokerError as error:
            refusal = error
        outcome = cluster.apply(command)
        if refusal is not None and isinstance(command, c.UnbindQueue | c.UnbindExchange):
            assert cluster.catalog.version == version
        elif refusal is not None:
            assert outcome == Refused(b"id", refusal)
        elif needed is None:
            continue
        elif isinstance(outcome, Refused):
            assert "before it was declared" in outcome.error.text, "only the log knows which nodes are gone"
            assert needed
        else:
            assert (cluster.catalog.version > version) is needed
