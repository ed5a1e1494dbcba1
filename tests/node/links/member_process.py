"""A member in a process of its own, to be killed: own port and the other's port are the arguments."""

import sys

import trio

from cluster.node.links import PeerAddress
from tests.node.links.linktools import A, B, Member

own_port, other_port = map(int, sys.argv[1:])
own = PeerAddress(name="mq-2", node=B, host="127.0.0.1", port=own_port)
other = PeerAddress(name="mq-1", node=A, host="127.0.0.1", port=other_port)
trio.run(Member(own, [other]).run)
