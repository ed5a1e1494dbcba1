"""What travels over inter-node links: one number per kind of message or request.

Law: a number never changes its meaning between versions that may run in one cluster.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Kind(IntEnum):
    """Messages unless named as a request."""

    RAFT = 1
    """list of Raft messages of all groups"""
    SHARD_TO_HOME = 2
    """`ToHome.to_wire`"""
    SHARD_FROM_HOME = 3
    """`FromHome.to_wire`"""
    SHARD_LEADER = 4
    """[[shard, term], ...]: the sender leads these"""
    CATALOG_COMMAND = 5
    """request: encoded command -> [index, outcome]; for who speaks a link version before 3"""
    CATALOG_APPLIED = 6
    """index up to which the sender's catalog copy has applied"""
    REPORT = 7
    """request: None -> the sender's node report"""
    QUEUES = 8
    """request: ids of queues, or None or a word for all -> rows of those that the receiver leads"""
    TRANSFER = 9
    """request: [group, node] -> None; the sender wants the receiver to hand leadership over"""
    SESSIONS = 10
    """request: what of clients, and of which queues: see `Sessions` -> the receiver's reports of that"""
    CLOSE_CONNECTION = 11
    """request: [name, reason] -> whether the receiver had it"""
    DIRECT_REPLY = 12
    """[address, record]: an answer for a channel of the receiver"""
    CENSUS = 13
    """request: [user, vhost] -> `census.Numbers` of the receiver"""
    SHARD_POST = 14
    """[target shard, term of its leader, session, batch or None]: see `Forwarder.words`"""
    SHARD_POST_RECEIPT = 15
    """[source shard, target shard, incarnation, last]"""
    ASIDE = 16
    """whether the sender has left service"""
    SHARD_TRANSACTION = 17
    """[target shard, source shard, Word, node, incarnation, number]: leaders of shards about a transaction"""
    ADMIT = 18
    """request: [name, host, port, token] -> node id; the sender asks the catalog's leader to let a newcomer in"""
    STANDINGS = 19
    """request: None -> `Standing.to_wire` of the groups that the receiver leads"""
    REMOVE = 20
    """request: name -> what is done; the sender asks the catalog's leader to let a member go"""
    MARK = 24
    """request: [group, mark] -> None; the receiver, who leads the group, puts a mark into its log"""
    CHECKPOINT = 25
    """request: [group, mark] -> [index, digest of the state there, [[index, term], ...] of the log before it]"""
    CATALOG_ASK = 26
    """[mark, encoded command]: the receiver leads the catalog and is to have it applied under that mark"""
    CATALOG_DECLINED = 27
    """mark of a command that the sender has not taken"""
    SHORT_OF_DISK = 28
    """whether the sender's disk or store is short of room"""
    BEHIND = 29
    """whether the sender's copy of the catalog lacks what shards were asked for"""
    CATALOG_AWAIT = 30
    """[number, index]: the receiver is to wait for the sender's catalog copy, which has applied that, and to say so"""
    CATALOG_AWAITED = 31
    """[number, index]: the sender waits for the receiver, as asked under that number; its own copy has applied that"""
    KEPT_BYTES = 32
    """how much of its store the sender's publishers leave to consumers, in bytes above 0"""
