"""Random histories of a catalog over few names, so that commands meet. Run as a program, prints the state's hash.

Run: python -m tests.broker.catalog.random_commands SEED COUNT
"""

from __future__ import annotations

import random
import sys

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.ids import queue_id
from tests.broker.catalog.build import Founded, table

_TABLES = tuple(
    table(arguments)
    for arguments in (
        {},
        {"x-queue-type": "quorum"},
        {"x-message-ttl": 5},
        {"alternate-exchange": "b"},
        {"x-match": "any", "a": 1},
        {"x-match": "bogus"},
        *[{} for _ in range(12)],
    )
)


def random_command(choices: random.Random) -> c.SingleCommand:
    """A command that is good about as often as not."""
    pick = choices.choice

    def name() -> str:
        return pick("abc")

    def flag() -> bool:
        return choices.random() < 0.5

    def vhost() -> str:
        return pick(("/", "/", "/", "/", "/", "v"))

    def key() -> str:
        return pick(("", "k", "a.b", "#", "a.*"))

    def pattern() -> str:
        return pick((".*", "^a", "", "("))

    makers = {
        "declare exchange": lambda: c.DeclareExchange(
            vhost(),
            name(),
            pick(("direct", "fanout", "fanout", "topic", "headers", "bogus")),
            True,
            flag(),
            False,
            pick(_TABLES),
        ),
        "delete exchange": lambda: c.DeleteExchange(vhost(), name(), choices.random() < 0.8),
        "bind": lambda: c.BindQueue(vhost(), name(), name(), key(), pick(_TABLES)),
        "unbind": lambda: c.UnbindQueue(vhost(), name(), name(), key(), pick(_TABLES)),
        "link": lambda: c.BindExchange(vhost(), name(), name(), key(), pick(_TABLES)),
        "unlink": lambda: c.UnbindExchange(vhost(), name(), name(), key(), pick(_TABLES)),
        "declare queue": lambda: c.DeclareQueue(
            vhost(),
            name(),
            flag(),
            flag(),
            flag(),
            pick(_TABLES),
            pick(("o1", "o2")),
            pick((1, 2)),
            pick((1, 2, 3, 4, 5)),
        ),
        "delete queue": lambda: c.DeleteQueue(vhost(), name(), pick((0, 0, 7))),
        "queue used": lambda: c.QueueUsed(queue_id(choices.randrange(1, 60), 0)),
        "node gone": lambda: c.NodeGone(pick((1, 2)), pick((0, 1, 2))),
        "connection gone": lambda: c.ConnectionGone(pick(("o1", "o2"))),
        "put vhost": lambda: c.PutVhost(pick(("/", "v")), "d", "t", pick(("classic", "quorum"))),
        "delete vhost": lambda: c.DeleteVhost("v"),
        "put user": lambda: c.PutUser(name(), "hash", pick(((), ("monitoring",)))),
        "delete user": lambda: c.DeleteUser(name()),
        "permissions": lambda: c.SetPermissions(name(), vhost(), pattern(), pattern(), pattern()),
        "clear permissions": lambda: c.ClearPermissions(name(), vhost()),
        "topic permissions": lambda: c.SetTopicPermissions(name(), vhost(), name(), pattern(), pattern()),
        "clear topic permissions": lambda: c.ClearTopicPermissions(name(), vhost(), pick((None, "a"))),
        "policy": lambda: c.PutPolicy(
            vhost(), name(), pattern(), "all", pick((0, 1)), (("alternate-exchange", name()), ("max-length", 3)), flag()
        ),
        "delete policy": lambda: c.DeletePolicy(vhost(), name(), flag()),
        "vhost limit": lambda: c.SetVhostLimit(vhost(), "max-queues", pick((None, 3, -1))),
        "user limit": lambda: c.SetUserLimit(name(), "max-channels", pick((None, 1))),
        "setting": lambda: c.PutSetting(name(), pick((None, 1, "x", True))),
        "member": lambda: c.PutMember(pick((2, 4, 5)), pick(("mq-2", "mq-4")), "h", 1, pick((-1, 0, 1, 2))),
        "admit member": lambda: c.AdmitMember(pick(("mq-2", "mq-4")), "h", 1, pick(("", "x", "y"))),
        "remove member": lambda: c.RemoveMember(pick((2, 4, 5))),
        "place": lambda: c.PlaceShard(pick((1, 4)), pick(((1, 2, 3), (1, 4), (1, 1)))),
    }
    weights = [8 if what in _FREQUENT else 1 for what in makers]
    return choices.choices(list(makers.values()), weights)[0]()


_FREQUENT = frozenset(("declare exchange", "bind", "link", "declare queue"))


def random_history(choices: random.Random, count: int) -> list[c.Command]:
    """Some commands come several in one entry."""
    history: list[c.Command] = []
    for _ in range(count):
        if choices.random() < 0.1:
            history.append(c.Several(tuple(random_command(choices) for _ in range(choices.randrange(4)))))
        else:
            history.append(random_command(choices))
    return history


def main() -> None:
    seed, count = map(int, sys.argv[1:])
    cluster = Founded()
    for command in random_history(random.Random(seed), count):
        cluster.apply(command)
    print(cluster.catalog.state_hash())


if __name__ == "__main__":
    main()
