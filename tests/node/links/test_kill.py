import subprocess
import sys
from pathlib import Path

import trio

from tests.node.links.linktools import B, Member, addresses

ROOT = Path(__file__).parents[3]


def start(command):
    return subprocess.Popen(command, cwd=ROOT)


async def test_a_killed_peer_is_seen_down_within_milliseconds():
    one, two = addresses(2)
    member = Member(one, [two])
    async with trio.open_nursery() as nursery:
        await nursery.start(member.run)
        command = [sys.executable, "-m", "tests.node.links.member_process", str(two.port), str(one.port)]
        process = start(command)
        try:
            await member.memory.until(lambda: member.links.is_up(B))
            killed_at = trio.current_time()
            process.kill()
            await member.memory.until(lambda: bool(member.memory.downs))
            assert trio.current_time() - killed_at < 0.5
        finally:
            process.kill()
            process.wait()
        nursery.cancel_scope.cancel()
