from cluster.node.aside import Aside
from cluster.node.kinds import Kind
from cluster.raft.types import NodeId

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


class Peers:
    """Links to two peers, and what was said to them."""

    def __init__(self) -> None:
        self.sent: list[tuple[NodeId, int, bool]] = []

    def send(self, peer: NodeId, kind: int, body: bool) -> bool:
        self.sent.append((peer, kind, body))
        return True

    def up_peers(self) -> list[NodeId]:
        return [TWO, THREE]


def test_a_node_says_to_all_others_that_it_leaves_service_and_that_it_is_back() -> None:
    peers = Peers()
    aside = Aside(ONE, peers)
    aside.announce(True)
    assert ONE in aside
    aside.announce(False)
    assert ONE not in aside
    assert peers.sent == [(peer, Kind.ASIDE, is_aside) for is_aside in (True, False) for peer in (TWO, THREE)]


def test_who_comes_up_while_a_node_is_aside_is_told_so() -> None:
    peers = Peers()
    aside = Aside(ONE, peers)
    aside.link_up(TWO)
    assert peers.sent == []
    aside.announce(True)
    peers.sent.clear()
    aside.link_up(TWO)
    assert peers.sent == [(TWO, Kind.ASIDE, True)]


def test_a_node_that_is_aside_serves_again_once_it_says_so_or_is_linked_anew() -> None:
    aside = Aside(ONE, Peers())
    aside.note(TWO, True)
    aside.note(THREE, True)
    assert aside.serving_peers() == set()
    aside.note(TWO, False)
    aside.link_up(THREE)
    assert aside.serving_peers() == {TWO, THREE}
