"""The words of transactions over several shards: what a batch, an entry and another shard's leader say of one.

Law: values only. A transaction is named by the home node's session and a number that the session gives out once, over
all shards. Rows stand in packed u64 columns; what they mean to a shard is in transactions.py.
"""

from __future__ import annotations

from array import array
from enum import IntEnum
from typing import NamedTuple

ROW = 3
"""Numbers of a row in a batch: (TxOp, transaction, shard); the shard is 0 where none is meant."""


class TxId(NamedTuple):
    """A transaction: its home node's session, and its number there."""

    node: int
    incarnation: int
    number: int


class TxOp(IntEnum):
    """What is to be done with a transaction.

    PREPARE  in a batch: all that the batch holds waits for the outcome; the shard is the coordinator
    DECIDE   in a batch: all that the batch holds is done, and the transaction is committed, unless it was refused
             here before; one row for each other participant, or one with shard 0
    COMMIT, ABORT   what was prepared is done, or forgotten. In a batch or by the leader; void where nothing is prepared
    FORGET   all participants have done it: the decision is needed no more. In a batch or by the leader
    FENCE    by the leader: if it is not decided, it never will be
    """

    PREPARE = 1
    DECIDE = 2
    COMMIT = 3
    ABORT = 4
    FORGET = 5
    FENCE = 6


ALONE = (TxOp.PREPARE, TxOp.DECIDE)
"""What stands in a batch of its own."""
_IN_BATCHES = (TxOp.COMMIT, TxOp.ABORT, TxOp.FORGET)
_BY_LEADERS = (TxOp.COMMIT, TxOp.ABORT, TxOp.FORGET, TxOp.FENCE)


class Refusal(IntEnum):
    """Why a part of a transaction was refused as a whole: stands in a batch's `refused`, as one u64."""

    LATE = 1
    """Another participant had asked for the outcome, and got: none."""
    FULL = 2
    """A queue is full, and refuses publishes."""
    BUSY = 3
    """Too many transactions are open in the shard, or too large ones."""
    TAKEN = 4
    """It answers a delivery that somebody else answers, or has answered, to whom it went when this node was silent."""


class Word(IntEnum):
    """What leaders of shards say to each other about a transaction."""

    ASK = 1
    """From a participant: what became of it?"""
    COMMITTED = 2
    """From the coordinator."""
    ABORTED = 3
    """From the coordinator."""
    DONE = 4
    """From a participant: it is committed here too."""


def rows_in_order(rows: array[int]) -> bool:
    """May they stand in one batch?"""
    if not rows or len(rows) % ROW:
        return False
    ops = rows[::ROW]
    if ops[0] == TxOp.PREPARE:
        return len(ops) == 1 and rows[2] > 0
    if ops[0] == TxOp.DECIDE:
        return ops.count(TxOp.DECIDE) == len(ops) and rows[1::ROW].count(rows[1]) == len(ops)
    return all(op in _IN_BATCHES for op in ops)


def verdicts_in_order(rows: array[int]) -> bool:
    """May they stand among a leader's operations? Rows of four: (TxOp, node, incarnation, number)."""
    return all(op in _BY_LEADERS for op in rows[::4])
