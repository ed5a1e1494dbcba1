import pytest
import trio

from cluster.node.links import LinkDown, LinkLimits, LinkTimeout, RemoteError, RequestError
from cluster.raft.types import NodeId
from tests.node.links.linktools import A, B, Member, addresses, linked_pair


async def test_a_value_and_an_awaitable_both_answer_a_call():
    async with linked_pair() as (first, second):
        second.memory.answer = lambda peer, kind, body: [peer, kind, body]
        assert await first.links.call(B, 5, b"x", 5) == [A, 5, b"x"]

        async def later(peer, kind, body):
            await trio.lowlevel.checkpoint()
            return "later"

        second.memory.answer = later
        assert await first.links.call(B, 5, None, 5, control=True) == "later"
        assert second.links.statistics().peers[0].requests_pending == 0


async def test_a_refusal_carries_its_text():
    async with linked_pair() as (first, second):
        with pytest.raises(RemoteError, match=r"^kind 9 is not served$"):
            await first.links.call(B, 9, None, 5)

        async def later(peer, kind, body):
            raise RequestError("not the leader")

        second.memory.answer = later
        with pytest.raises(RemoteError, match=r"^not the leader$"):
            await first.links.call(B, 9, None, 5)


async def test_responses_find_their_calls_in_any_order():
    async with linked_pair() as (first, second):
        gates = [trio.Event() for _ in range(20)]

        async def gated(peer, kind, body):
            await gates[body].wait()
            if body:
                gates[body - 1].set()
            return body * 10

        second.memory.answer = gated
        answers = {}

        async def ask(number):
            answers[number] = await first.links.call(B, 1, number, 5)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
            gates[19].set()
        assert answers == {number: number * 10 for number in range(20)}


async def test_a_call_without_an_answer_times_out_and_leaves_nothing_behind():
    async with linked_pair() as (first, second):

        async def never(peer, kind, body):
            await trio.sleep_forever()

        second.memory.answer = never
        with pytest.raises(LinkTimeout, match=r"^mq-2 did not answer within 0.01 s$"):
            await first.links.call(B, 1, None, 0.01)
        assert first.links.statistics().peers[0].calls_pending == 0


async def test_pending_calls_fail_when_the_link_closes():
    async with linked_pair() as (first, second):
        asked = trio.Event()

        async def never(peer, kind, body):
            asked.set()
            await trio.sleep_forever()

        second.memory.answer = never
        async with trio.open_nursery() as nursery:

            async def ask():
                with pytest.raises(LinkDown, match=r"^link to mq-2 closed: "):
                    await first.links.call(B, 1, None, 60)

            nursery.start_soon(ask)
            await asked.wait()
            await second.stop()


async def test_a_call_without_a_link_fails_at_once():
    one, two = addresses(2)
    member = Member(one, [two])
    async with trio.open_nursery() as nursery:
        await nursery.start(member.run)
        with pytest.raises(LinkDown, match=r"^no link to mq-2$"):
            await member.links.call(B, 1, None, 60)
        with pytest.raises(LinkDown, match=r"^no link to node 9$"):
            await member.links.call(NodeId(9), 1, None, 60)
        nursery.cancel_scope.cancel()


async def test_requests_over_the_limit_are_refused():
    async with linked_pair(LinkLimits(requests_pending_max=1)) as (first, second):
        asked = trio.Event()

        async def never(peer, kind, body):
            asked.set()
            await trio.sleep_forever()

        second.memory.answer = never
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.links.call, B, 1, None, 60)
            await asked.wait()
            with pytest.raises(RemoteError, match=r"^too many requests$"):
                await first.links.call(B, 1, None, 60)
            nursery.cancel_scope.cancel()


async def test_a_response_too_large_to_send_is_told_as_such():
    async with linked_pair(LinkLimits(message_bytes_max=1000)) as (first, second):
        second.memory.answer = lambda peer, kind, body: bytes(2000)
        with pytest.raises(RemoteError, match="response cannot be sent"):
            await first.links.call(B, 1, None, 5)
        with pytest.raises(ValueError, match="allowed are 1000"):
            first.links.send(B, 1, bytes(2000))
