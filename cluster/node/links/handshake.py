"""The handshake of one connection, as two pure state machines.

    dialer                                              acceptor
    HELLO     magic, versions, purpose, identity, nonce  ->
              <-  CHALLENGE  version, nonce
    PROOF     HMAC-SHA256(secret, "dialer", HELLO, CHALLENGE)  ->
              <-  WELCOME  identity, HMAC-SHA256(secret, "acceptor", HELLO, CHALLENGE, identity)
              <-  REFUSED  code, text    (instead of CHALLENGE or WELCOME)

Law: the secret never travels; both proofs bind everything said before, in different words, so that neither
can be replayed or reflected. A stranger learns a nonce and nothing else: cluster id, name and node of the
acceptor leave only after the dialer's proof. Nothing is read from the clock or from a socket here.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from cluster.node.links.frames import pack_body
from cluster.node.links.interface import Body, ProtocolViolation
from cluster.raft.types import NodeId

MAGIC: Final = "cluster-mq link"
VERSION_MIN: Final = 1
VERSION_MAX: Final = 8
"""The lower of both sides' highest is spoken. 2 brought petitions, and the kinds of request of changing members; 3
commands for the catalog that are told and not asked; 4 entries and snapshots of shards that say why messages leave; 5
nodes that say that their disks are short; 6 such as say that their copies of the catalog are behind; 7 such as say
whose copies of it they wait for; 8 such as say how much their stores keep for consumers."""
VERSION_OF_MEMBERSHIP: Final = 2
VERSION_OF_MARKS: Final = 3
VERSION_OF_DOOMS: Final = 4
VERSION_OF_SHORTAGES: Final = 5
VERSION_OF_LAGS: Final = 6
VERSION_OF_FRESHNESS: Final = 7
VERSION_OF_SIZES: Final = 8
NONCE_BYTES: Final = 32


class Purpose(enum.IntEnum):
    """What the dialer wants: send its messages, one description of the acceptor, or to become a member."""

    LINK = 0
    PROBE = 1
    PETITION = 2


class Refusal(enum.Enum):
    """Why a connection is not wanted; the value travels."""

    VERSION = "version"
    SECRET = "secret"
    CLUSTER = "cluster"
    UNFOUNDED = "unfounded"
    """The acceptor belongs to no cluster yet: every cluster's first moments, and no complaint."""
    NODE = "node"
    LEFT = "left"
    """The dialer was a member and is none any more; it will not be one again under its id."""
    STALE = "stale"


_REFUSALS: Final = {refusal.value: refusal for refusal in Refusal}


class Refused(Exception):
    """The handshake is over. `text` is for both sides' logs; `claimed` is the unproven name of the dialer."""

    def __init__(self, code: Refusal, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.claimed = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks. `cluster_id` is "" and `node` NOBODY before the node belongs to a cluster."""

    cluster_id: str
    node: NodeId
    name: str
    incarnation: int
    version: int = field(default=VERSION_MAX, compare=False)
    """Of the link on which it is spoken."""


class Step(enum.Enum):
    """What a handshake machine waits for."""

    HELLO = enum.auto()
    CHALLENGE = enum.auto()
    PROOF = enum.auto()
    WELCOME = enum.auto()
    DONE = enum.auto()


def _proof(secret: bytes, side: bytes, *parts: bytes) -> bytes:
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hmac.new(secret, side + digests, hashlib.sha256).digest()


def _identity_fields(identity: Identity) -> list[Body]:
    return [identity.cluster_id, identity.node, identity.name, identity.incarnation]


def _parse_identity(fields: list[Body]) -> Identity:
    match fields:
        case [str(cluster_id), int(node), str(name), int(incarnation)]:
            return Identity(cluster_id=cluster_id, node=NodeId(node), name=name, incarnation=incarnation)
        case _:
            raise ProtocolViolation("malformed identity in handshake")


def _parse_nonce(nonce: Body) -> bytes:
    if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES:
        raise ProtocolViolation("malformed nonce in handshake")
    return nonce


def refused_body(refused: Refused) -> bytes:
    return pack_body([refused.code.value, refused.text])


def parse_refused(body: Body) -> Refused:
    """What a REFUSED frame says. Raises ProtocolViolation."""
    match body:
        case [str(code), str(text)] if code in _REFUSALS:
            return Refused(_REFUSALS[code], text)
        case _:
            raise ProtocolViolation("malformed refusal")


class Dialer:
    """The side that connected. Bodies go in decoded and come out packed."""

    __slots__ = ("_challenge", "_hello", "_secret", "_version", "_version_min", "step")

    def __init__(self, *, identity: Identity, purpose: Purpose, secret: bytes, nonce: bytes) -> None:
        assert len(nonce) == NONCE_BYTES
        self._secret = secret
        self._version_min = VERSION_OF_MEMBERSHIP if purpose is Purpose.PETITION else VERSION_MIN
        fields = _identity_fields(identity)
        self._hello = pack_body([MAGIC, self._version_min, VERSION_MAX, int(purpose), fields, nonce])
        self._challenge = b""
        self._version = self._version_min
        self.step = Step.CHALLENGE

    def hello(self) -> bytes:
        return self._hello

    def on_challenge(self, body: Body) -> bytes:
        """The body of PROOF. Raises ProtocolViolation, Refused."""
        if self.step is not Step.CHALLENGE:
            raise ProtocolViolation("challenge out of turn")
        match body:
            case [int(version), nonce]:
                if not self._version_min <= version <= VERSION_MAX:
                    raise Refused(Refusal.VERSION, f"acceptor chose link version {version}")
                self._version = version
                self._challenge = pack_body([version, _parse_nonce(nonce)])
            case _:
                raise ProtocolViolation("malformed challenge")
        self.step = Step.WELCOME
        return pack_body(_proof(self._secret, b"dialer", self._hello, self._challenge))

    def on_welcome(self, body: Body) -> Identity:
        """Who answered, proven. Raises ProtocolViolation, Refused."""
        if self.step is not Step.WELCOME:
            raise ProtocolViolation("welcome out of turn")
        match body:
            case [list(fields), bytes(proof)]:
                identity = _parse_identity(fields)
            case _:
                raise ProtocolViolation("malformed welcome")
        expected = _proof(self._secret, b"acceptor", self._hello, self._challenge, pack_body(fields))
        if not hmac.compare_digest(expected, proof):
            raise Refused(Refusal.SECRET, "cluster secret mismatch")
        self.step = Step.DONE
        return replace(identity, version=self._version)


class Acceptor:
    """The side that was connected to.

    `admit` judges an authenticated LINK dialer and raises Refused for one that is not wanted.
    """

    __slots__ = (
        "_admit",
        "_challenge",
        "_hello",
        "_identity",
        "_nonce",
        "_secret",
        "dialer",
        "purpose",
        "step",
    )

    def __init__(self, *, identity: Identity, secret: bytes, nonce: bytes, admit: Callable[[Identity], None]) -> None:
        assert len(nonce) == NONCE_BYTES
        self._identity = identity
        self._secret = secret
        self._nonce = nonce
        self._admit = admit
        self._hello = b""
        self._challenge = b""
        self.purpose = Purpose.LINK
        self.dialer: Identity | None = None
        """Who claims to speak; proven once `on_proof` has returned."""
        self.step = Step.HELLO

    def on_hello(self, body: Body) -> bytes:
        """The body of CHALLENGE. Raises ProtocolViolation, Refused."""
        if self.step is not Step.HELLO:
            raise ProtocolViolation("hello out of turn")
        match body:
            case [str(magic), int(lowest), int(highest), int(purpose), list(fields), nonce] if magic == MAGIC:
                _parse_nonce(nonce)
                self.dialer = _parse_identity(fields)
            case _:
                raise ProtocolViolation("not a link hello")
        version = min(highest, VERSION_MAX)
        if version < max(lowest, VERSION_MIN):
            raise Refused(Refusal.VERSION, f"link versions {lowest} to {highest}, here {VERSION_MIN} to {VERSION_MAX}")
        if purpose not in tuple(Purpose):
            raise ProtocolViolation(f"unknown purpose {purpose}")
        self.purpose = Purpose(purpose)
        self.dialer = replace(self.dialer, version=version)
        self._hello = pack_body(body)
        self._challenge = pack_body([version, self._nonce])
        self.step = Step.PROOF
        return self._challenge

    def on_proof(self, body: Body) -> bytes:
        """The body of WELCOME. Raises ProtocolViolation, Refused."""
        if self.step is not Step.PROOF:
            raise ProtocolViolation("proof out of turn")
        if not isinstance(body, bytes):
            raise ProtocolViolation("malformed proof")
        expected = _proof(self._secret, b"dialer", self._hello, self._challenge)
        if not hmac.compare_digest(expected, body):
            raise Refused(Refusal.SECRET, "cluster secret mismatch")
        assert self.dialer is not None
        match self.purpose:
            case Purpose.LINK:
                if not self._identity.cluster_id:
                    raise Refused(Refusal.UNFOUNDED, "belongs to no cluster yet")
                if self.dialer.cluster_id != self._identity.cluster_id:
                    raise Refused(
                        Refusal.CLUSTER,
                        f"cluster id mismatch: {self.dialer.cluster_id or 'none'} dialled {self._identity.cluster_id}",
                    )
                self._admit(self.dialer)
            case Purpose.PROBE | Purpose.PETITION:
                pass
            case _:
                assert_never(self.purpose)
        fields = _identity_fields(self._identity)
        self.step = Step.DONE
        return pack_body([fields, _proof(self._secret, b"acceptor", self._hello, self._challenge, pack_body(fields))])
