from cluster.node.kinds import Kind
from cluster.node.links import VERSION_OF_SHORTAGES
from cluster.node.node_flag import NodeFlag

from .peers import ONE, THREE, TWO, Peers


def test_a_node_says_to_all_others_that_it_leaves_service_and_that_it_is_back() -> None:
    peers = Peers(VERSION_OF_SHORTAGES)
    aside = NodeFlag(ONE, peers, Kind.ASIDE)
    aside.announce(True)
    assert ONE in aside
    aside.announce(False)
    assert ONE not in aside
    assert peers.sent == [(peer, Kind.ASIDE, is_aside) for is_aside in (True, False) for peer in (TWO, THREE)]


def test_who_comes_up_while_a_node_is_aside_is_told_so() -> None:
    peers = Peers(VERSION_OF_SHORTAGES)
    aside = NodeFlag(ONE, peers, Kind.ASIDE)
    aside.link_up(TWO)
    assert peers.sent == []
    aside.announce(True)
    peers.sent.clear()
    aside.link_up(TWO)
    assert peers.sent == [(TWO, Kind.ASIDE, True)]


def test_a_node_that_is_aside_serves_again_once_it_says_so_or_is_linked_anew() -> None:
    aside = NodeFlag(ONE, Peers(VERSION_OF_SHORTAGES), Kind.ASIDE)
    aside.note(TWO, True)
    aside.note(THREE, True)
    assert aside.peers_without() == set()
    aside.note(TWO, False)
    aside.link_up(THREE)
    assert aside.peers_without() == {TWO, THREE}


def test_who_speaks_an_older_version_is_not_told_what_it_does_not_know() -> None:
    peers = Peers(VERSION_OF_SHORTAGES)
    short = NodeFlag(ONE, peers, Kind.SHORT_OF_DISK)
    short.announce(True)
    short.link_up(THREE)
    short.link_up(TWO)
    assert peers.sent == [(TWO, Kind.SHORT_OF_DISK, True)] * 2
    assert short.peers_without() == {TWO}, "nor would it say that it is so itself"
