"""A shard's leader and the transactions whose home node does not bring them to their end.

Law: pure. A participant asks the coordinator's leader; what is not decided there then is fenced through the log before
it is answered, so that there is one outcome and it is final. The coordinator tells participants of what they have not
been told, and forgets it when each has answered from its own log: an answer out of memory might be an old leader's.
Everything is said again until it has had its effect; nothing said twice changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cluster.broker.shard.proposals import Proposals
from cluster.broker.shard.transactions import Transactions
from cluster.broker.shard.tx_ops import TxId, TxOp, Word

PATIENCE_MS = 10_000
"""How long a transaction may be open before its end is sought, while its home node is there."""
WIDOWED_PATIENCE_MS = 1_000
"""The same for one whose home node is out of touch."""
AGAIN_MS = 500
"""What had no effect is said again."""
_LOOK_MS = 100
"""How often one looks whose time is over."""
Words = list[tuple[int, Word, TxId]]
"""What to say: (shard, word, transaction)."""


class Arbiter:
    """One leader's. Bounded by the open transactions of its shard and of those that ask it."""

    def __init__(
        self, transactions: Transactions, sessions: Mapping[int, tuple[int, int]], proposals: Proposals
    ) -> None:
        self.present: set[int] = set()
        """Home nodes that are in touch with this leader."""
        self._transactions = transactions
        self._sessions = sessions
        self._proposals = proposals
        self._since: dict[TxId, int] = {}
        """When this leader saw it first, Unix milliseconds."""
        self._said: dict[tuple[int, TxId], int] = {}
        """(shard, transaction) -> when it was last spoken of."""
        self._askers: dict[TxId, dict[int, None]] = {}
        """Participants to be answered once the log has the fence."""
        self._tellers: dict[TxId, int] = {}
        """Coordinators to be answered once the log has the commit."""
        self._done: dict[TxId, dict[int, None]] = {}
        """Decided here -> participants that have done it."""
        self._answers: Words = []
        self._next_look_ms = 0

    def __bool__(self) -> bool:
        return bool(self._answers or self._transactions)

    def words(self, now_ms: int) -> Words:
        """What to say to leaders of other shards now."""
        words, self._answers = self._answers, []
        if self._transactions and now_ms >= self._next_look_ms:
            self._next_look_ms = now_ms + _LOOK_MS
            words += self._seek(now_ms)
        return words

    def hear(self, shard: int, word: Word, tx: TxId) -> None:
        """Another shard's leader says something."""
        match word:
            case Word.ASK:
                if tx in self._transactions.decisions:
                    self._answers.append((shard, Word.COMMITTED, tx))
                elif self._transactions.is_fenced(tx):
                    self._answers.append((shard, Word.ABORTED, tx))
                else:
                    if tx not in self._askers:
                        self._proposals.verdict(TxOp.FENCE, tx)
                    self._askers.setdefault(tx, {})[shard] = None
            case Word.COMMITTED:
                if tx not in self._tellers:
                    self._proposals.verdict(TxOp.COMMIT, tx)
                self._tellers[tx] = shard
            case Word.ABORTED:
                if tx in self._transactions.prepared:
                    self._proposals.verdict(TxOp.ABORT, tx)
            case Word.DONE:
                done = self._done.setdefault(tx, {})
                done[shard] = None
                if all(participant in done for participant in self._transactions.decisions.get(tx, ())):
                    self._proposals.verdict(TxOp.FORGET, tx)

    def applied(self, verdicts: Iterable[tuple[TxOp, TxId]]) -> None:
        """The log has what this leader said."""
        for op, tx in verdicts:
            if op is TxOp.FENCE:
                word = Word.COMMITTED if tx in self._transactions.decisions else Word.ABORTED
                self._answers += [(shard, word, tx) for shard in self._askers.pop(tx, ())]
            elif op is TxOp.COMMIT and tx in self._tellers:
                self._answers.append((self._tellers.pop(tx), Word.DONE, tx))

    def _seek(self, now_ms: int) -> Words:
        prepared, decisions = self._transactions.prepared, self._transactions.decisions
        self._since = {tx: self._since.get(tx, now_ms) for table in (prepared, decisions) for tx in table}
        self._done = {tx: done for tx, done in self._done.items() if tx in decisions}
        words: Words = []
        for tx, part in prepared.items():
            if self._is_due(tx, now_ms):
                words.append((part.coordinator, Word.ASK, tx))
        for tx, participants in decisions.items():
            if self._is_due(tx, now_ms):
                done = self._done.get(tx, ())
                words += [(shard, Word.COMMITTED, tx) for shard in participants if shard not in done]
        words = [w for w in words if now_ms - self._said.get((w[0], w[2]), -AGAIN_MS) >= AGAIN_MS]
        self._said = {key: when for key, when in self._said.items() if key[1] in self._since}
        self._said.update({(shard, tx): now_ms for shard, _, tx in words})
        return words

    def _is_due(self, tx: TxId, now_ms: int) -> bool:
        if self._sessions.get(tx.node, (0, 0))[0] > tx.incarnation:
            return True
        patience = PATIENCE_MS if tx.node in self.present else WIDOWED_PATIENCE_MS
        return now_ms - self._since[tx] >= patience
