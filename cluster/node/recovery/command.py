"""`clusterd recover`: makes a cluster out of the one node that is left.

Law: first it is said what is there and what is lost; nothing is changed without `--accept-loss`, nor while a node has
the directory open. Exit codes: 0 done, 1 it cannot be done, 2 wrong usage, or the loss is not accepted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cluster.node.membership.roster import write_roster
from cluster.node.opening import forget_left, open_sound_store
from cluster.node.recovery.survivor import Remains, survey, survive
from cluster.raft.storage import StorageError
from cluster.store.directory import DATA_NAME
from cluster.store.journal import RECORDS_MAX

EXIT_FAILED = 1
EXIT_USAGE = 2


def run_recover(arguments: Sequence[str]) -> int:
    """Entry of `clusterd recover`. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="clusterd recover",
        description="Makes a cluster of one out of a stopped node, when a majority of the volumes is lost for good.",
    )
    parser.add_argument("--only-survivor", action="store_true", required=True, help="no other volume is left")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the node's node.data_dir")
    parser.add_argument("--accept-loss", action="store_true", help="do it; without, only say what is left")
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        return _recover(asked.data, is_accepted=asked.accept_loss)
    except (StorageError, OSError) as error:
        print(f"clusterd recover: {error}", file=sys.stderr)
        return EXIT_FAILED


def _recover(data_dir: Path, *, is_accepted: bool) -> int:
    """Raises StorageError, OSError."""
    path, store = open_sound_store(data_dir)
    try:
        written_at = datetime.fromtimestamp((path / DATA_NAME).stat().st_mtime, UTC)
        remains = survey(store)
        print("\n".join([*_told(remains), f"The directory was last written to at {written_at:%Y-%m-%d %H:%M:%S} UTC."]))
        if not is_accepted:
            print("Nothing was changed. Copy the directory, then say --accept-loss as well.", file=sys.stderr)
            return EXIT_USAGE
        # Else a node with cluster.rejoin would set what was just recovered aside.
        forget_left(data_dir)
        cluster_id = survive(store, remains)
        write_roster(data_dir, [])
    finally:
        store.close()
    name = remains.identity.node_name
    print(
        f"{name} is the only member of cluster {cluster_id} now. Start it first; the others join it with empty "
        "directories, and with cluster.may_found = false, so that they found nothing without it."
    )
    return 0


def _told(remains: Remains) -> list[str]:
    identity, catalog = remains.identity, remains.catalog
    queues = [queue for queue in catalog.queues.values() if queue.replicated]
    lines = [
        f"{identity.node_name}, node {identity.member_id} of cluster {identity.cluster_id}",
        f"  catalog: {len(catalog.vhosts)} vhosts, {len(catalog.users)} users, {len(queues)} replicated queues"
        + _tail(remains.unagreed),
    ]
    for shard in remains.shards:
        if shard.lost:
            empty = sum([int(queue.shard) == shard.group for queue in queues])
            lines.append(f"  shard {shard.group}: LOST, its {empty} queues will be empty: {shard.lost}")
        else:
            held = f"{shard.messages} messages in {shard.queues} queues"
            lines.append(f"  shard {shard.group}: {held}{_tail(shard.unagreed)}")
    if remains.journal_damage:
        lines.append(f"  LOST: up to {RECORDS_MAX} of the latest writes, of anything above: {remains.journal_damage}")
    others, own = ", ".join(remains.others) or "others", identity.node_name
    return [
        *lines,
        f"Lost for good: whatever {others} had confirmed and {own} had not received when it stopped. What was",
        "acknowledged there since then comes again, and so may what was never confirmed, where it is counted above.",
        f"Where enough of {others} can still be started with their volumes to be a majority, do that instead.",
        "Never start them with their old volumes afterwards: they would be the old cluster, beside the new one.",
    ]


def _tail(unagreed: int) -> str:
    return f" (of the last {unagreed} entries it is not known whether a majority had them)" if unagreed else ""
