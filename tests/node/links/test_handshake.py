import pytest

from cluster.node.links.frames import pack_body, unpack_body
from cluster.node.links.handshake import (
    MAGIC,
    VERSION_MAX,
    Acceptor,
    Dialer,
    Identity,
    Purpose,
    Refusal,
    Refused,
    Step,
    parse_refused,
    refused_body,
)
from cluster.node.links.interface import ProtocolViolation

ONE = Identity(cluster_id="c1", node=1, name="mq-1", incarnation=7)
TWO = Identity(cluster_id="c1", node=2, name="mq-2", incarnation=9)
NONCE = bytes(range(32))


def dialer(identity=ONE, purpose=Purpose.LINK, secret=b"s"):
    return Dialer(identity=identity, purpose=purpose, secret=secret, nonce=NONCE)


def acceptor(identity=TWO, secret=b"s", admit=lambda identity: None):
    return Acceptor(identity=identity, secret=secret, nonce=NONCE[::-1], admit=admit)


def shake(one, two):
    challenge = two.on_hello(unpack_body(one.hello()))
    proof = one.on_challenge(unpack_body(challenge))
    return one.on_welcome(unpack_body(two.on_proof(unpack_body(proof))))


def test_both_sides_learn_who_the_other_is():
    one, two = dialer(), acceptor()
    assert shake(one, two) == TWO
    assert two.dialer == ONE
    assert one.step is two.step is Step.DONE


def test_a_wrong_secret_of_the_dialer_is_refused():
    with pytest.raises(Refused) as caught:
        shake(dialer(secret=b"other"), acceptor())
    assert caught.value.code is Refusal.SECRET
    assert caught.value.text == "cluster secret mismatch"


def test_an_acceptor_that_does_not_know_the_secret_is_found_out():
    one, two = dialer(), acceptor()
    proof = one.on_challenge(unpack_body(two.on_hello(unpack_body(one.hello()))))
    fields, _ = unpack_body(two.on_proof(unpack_body(proof)))
    with pytest.raises(Refused) as caught:
        one.on_welcome([fields, unpack_body(proof)])
    assert caught.value.code is Refusal.SECRET


def test_a_changed_identity_breaks_the_welcome():
    one, two = dialer(), acceptor()
    proof = one.on_challenge(unpack_body(two.on_hello(unpack_body(one.hello()))))
    _, mac = unpack_body(two.on_proof(unpack_body(proof)))
    with pytest.raises(Refused):
        one.on_welcome([["c1", 3, "mq-3", 9], mac])


def test_a_proof_for_another_nonce_is_refused():
    one = dialer()
    proof = one.on_challenge([1, bytes(32)])
    two = acceptor()
    two.on_hello(unpack_body(one.hello()))
    with pytest.raises(Refused):
        two.on_proof(unpack_body(proof))


def test_another_cluster_is_refused_by_name_only_after_the_proof():
    other = Identity(cluster_id="c2", node=1, name="mq-1", incarnation=7)
    with pytest.raises(Refused) as caught:
        shake(dialer(identity=other), acceptor())
    assert (caught.value.code, caught.value.text) == (Refusal.CLUSTER, "cluster id mismatch: c2 dialled c1")


def test_a_node_without_a_cluster_is_no_link_but_may_be_probed():
    nobody = Identity(cluster_id="", node=0, name="mq-2", incarnation=9)
    with pytest.raises(Refused) as caught:
        shake(dialer(), acceptor(identity=nobody))
    assert (caught.value.code, caught.value.text) == (Refusal.UNFOUNDED, "belongs to no cluster yet")
    assert shake(dialer(purpose=Purpose.PROBE), acceptor(identity=nobody)) == nobody


def test_versions_without_overlap_are_refused():
    with pytest.raises(Refused) as caught:
        acceptor().on_hello([MAGIC, 98, 99, 0, ["c1", 1, "mq-1", 7], NONCE])
    assert (caught.value.code, caught.value.text) == (
        Refusal.VERSION,
        f"link versions 98 to 99, here 1 to {VERSION_MAX}",
    )


def test_the_highest_common_version_is_chosen():
    two = acceptor()
    assert unpack_body(two.on_hello([MAGIC, 1, 99, 0, ["c1", 1, "mq-1", 7], NONCE]))[0] == VERSION_MAX
    assert two.dialer.version == VERSION_MAX


def test_with_an_older_program_its_version_is_spoken_and_both_know():
    two = acceptor()
    assert unpack_body(two.on_hello([MAGIC, 1, 1, 0, ["c1", 1, "mq-1", 7], NONCE]))[0] == 1
    assert two.dialer.version == 1
    one = dialer()
    proof = unpack_body(one.on_challenge([1, NONCE]))
    assert isinstance(proof, bytes)
    old = Acceptor(identity=TWO, secret=b"s", nonce=NONCE, admit=lambda identity: None)
    hello = unpack_body(one.hello())
    old.on_hello([*hello[:2], 1, *hello[3:]])
    assert old.dialer.version == 1


def test_a_petition_is_not_made_to_an_older_program():
    with pytest.raises(Refused) as caught:
        dialer(purpose=Purpose.PETITION).on_challenge([1, NONCE])
    assert (caught.value.code, caught.value.text) == (Refusal.VERSION, "acceptor chose link version 1")


@pytest.mark.parametrize(
    "hello",
    [
        None,
        [],
        ["AMQP", 1, 1, 0, ["c1", 1, "mq-1", 7], NONCE],
        [MAGIC, 1, 1, 9, ["c1", 1, "mq-1", 7], NONCE],
        [MAGIC, 1, 1, 0, ["c1", "1", "mq-1", 7], NONCE],
        [MAGIC, 1, 1, 0, ["c1", 1, "mq-1", 7], b"short"],
    ],
)
def test_a_malformed_hello_changes_nothing(hello):
    two = acceptor()
    with pytest.raises(ProtocolViolation):
        two.on_hello(hello)
    assert two.step is Step.HELLO


def test_steps_out_of_turn_are_violations():
    with pytest.raises(ProtocolViolation):
        acceptor().on_proof(b"x")
    with pytest.raises(ProtocolViolation):
        dialer().on_welcome([[], b""])


def test_a_refusal_travels():
    refused = parse_refused(unpack_body(refused_body(Refused(Refusal.STALE, "late"))))
    assert (refused.code, refused.text) == (Refusal.STALE, "late")
    with pytest.raises(ProtocolViolation):
        parse_refused(["weather", "rain"])
    assert pack_body(["stale", "late"]) == refused_body(refused)
