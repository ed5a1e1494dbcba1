import random
import socket

from cluster.node.links.frames import FrameReader, Packer, encode_message
from cluster.node.links.outbox import Flushed, Outbox


def frames(kind, body, limit=256 << 10):
    return encode_message(kind, Packer().pack(body), limit)


class TrickleSocket:
    """Takes a random number of bytes at a time and remembers them; full after each `budget` of bytes."""

    def __init__(self, chance, budget):
        self.chance, self.budget, self.left = chance, budget, budget
        self.data = bytearray()

    def sendmsg(self, buffers):
        if self.left <= 0:
            self.left = self.budget
            raise BlockingIOError
        data = b"".join(buffers)
        count = self.chance.randint(1, min(len(data), self.left))
        self.left -= count
        self.data += data[:count]
        return count


def test_partial_writes_keep_both_lanes_whole_and_ordered():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    outbox = Outbox(bulk_bytes_max=1 << 30, control_bytes_max=1 << 30)
    sock = TrickleSocket(chance, 30_000)
    sent = {1: [], 2: []}
    for number in range(300):
        lane = chance.choice((1, 2))
        body = [number, chance.randbytes(chance.choice((1, 100, 40_000)) if lane == 1 else 10)]
        sent[lane].append(body)
        outbox.put(frames(lane, body, 1000), control=lane == 2)
        if chance.random() < 0.3:
            outbox.flush(sock)
    while outbox.flush(sock)[0] is not Flushed.EMPTY:
        pass
    assert outbox.waiting_bytes == 0
    reader = FrameReader(frame_bytes_max=1000, message_bytes_max=1 << 20)
    got = {1: [], 2: []}
    for kind, body in reader.feed(bytes(sock.data)):
        got[kind].append(body)
    assert got == sent


def test_control_goes_before_all_bulk_that_has_not_begun():
    outbox = Outbox(bulk_bytes_max=1 << 30, control_bytes_max=1 << 30)
    sock = TrickleSocket(random.Random(1), 500)
    outbox.put(frames(1, bytes(5000), 1000), control=False)
    assert outbox.flush(sock)[0] is Flushed.BLOCKED
    outbox.put(frames(2, "vote"), control=True)
    while outbox.flush(sock)[0] is not Flushed.EMPTY:
        pass
    reader = FrameReader(frame_bytes_max=1000, message_bytes_max=1 << 20)
    assert [kind for kind, _ in reader.feed(bytes(sock.data))] == [2, 1]


def test_a_lane_over_its_bound_refuses_and_leaves_the_other_alone():
    outbox = Outbox(bulk_bytes_max=10_000, control_bytes_max=100)
    assert outbox.put(frames(1, bytes(9000)), control=False)
    before = outbox.waiting_bytes
    assert not outbox.put(frames(1, bytes(9000)), control=False)
    assert outbox.waiting_bytes == before
    assert outbox.put(frames(2, bytes(60)), control=True)
    assert not outbox.put(frames(2, bytes(60)), control=True)


def test_an_empty_lane_takes_one_message_of_any_size():
    outbox = Outbox(bulk_bytes_max=10, control_bytes_max=10)
    assert outbox.put(frames(1, bytes(1000)), control=False)


def test_a_turn_ends_so_that_others_have_theirs():
    near, far = socket.socketpair()
    far.settimeout(10)
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    outbox = Outbox(bulk_bytes_max=1 << 30, control_bytes_max=1 << 30)
    outbox.put(frames(1, bytes(8 << 20)), control=False)
    outcome, written = outbox.flush(near)
    assert outcome in (Flushed.TURN_OVER, Flushed.BLOCKED)
    assert written <= (1 << 20) + (256 << 10) + (256 << 10)
    near.close()
    far.close()


def test_a_message_of_more_buffers_than_the_kernel_takes_at_once_is_written():
    body = [bytes(70_000)] * 1500
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        outbox = Outbox(bulk_bytes_max=1 << 30, control_bytes_max=1 << 30)
        outbox.put(frames(1, body, 1 << 28), control=False)
        reader = FrameReader(frame_bytes_max=1 << 28, message_bytes_max=1 << 28)
        got = []
        while not got:
            outbox.flush(ours)
            got = reader.feed(theirs.recv(1 << 20))
    assert got == [(1, body)]
