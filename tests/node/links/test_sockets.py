import socket

import pytest

from cluster.node.links import sockets


async def test_who_asks_for_a_socket_that_was_closed_a_moment_ago_is_told_that_it_is_closed():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        sockets.close(ours)
        for waiting in (sockets.until_writable(ours), sockets.receive(ours), sockets.send_all(ours, b"late")):
            with pytest.raises(sockets.Disconnected, match="closed here"):
                await waiting


def test_a_listener_of_a_host_that_nobody_knows_says_which():
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:25672: "):
        sockets.open_listener("nowhere.invalid", 25672)
