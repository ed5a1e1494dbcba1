"""Hashes of passwords: ours, and those that RabbitMQ's definitions bring."""

from __future__ import annotations

import base64
import hashlib

import pytest

from cluster.node.amqp.password_hash import hash_password, read_hash, show_hash, verify

ALGORITHMS = ("sha256", "sha512", "md5")


def rabbit(algorithm: str, password: bytes, salt: bytes = b"\x90\x8d\xc6\x0a") -> str:
    return base64.b64encode(salt + hashlib.new(algorithm, salt + password).digest()).decode()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_hash_of_rabbitmq_fits_its_password_and_comes_back_as_it_went_in(algorithm: str) -> None:
    name = f"rabbit_password_hashing_{algorithm}"
    text = rabbit(algorithm, b"test12")
    kept = read_hash(text, name)
    assert verify(kept, b"test12")
    assert not verify(kept, b"test13")
    assert show_hash(kept) == (text, name)


def test_the_example_of_rabbitmqs_documentation_fits() -> None:
    # https://www.rabbitmq.com/docs/passwords#computing-password-hash
    assert verify(read_hash("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", None), b"test12")


def test_our_own_hash_comes_back_as_it_went_in() -> None:
    kept = hash_password(b"pw")
    assert verify(kept, b"pw")
    assert not verify(kept, b"")
    assert read_hash(*show_hash(kept)) == kept


def test_an_empty_hash_fits_no_password() -> None:
    assert read_hash("", "rabbit_password_hashing_sha256") == ""
    assert not verify("", b"")


@pytest.mark.parametrize("text", ["AAAA", "not base64!", "é"])
def test_a_hash_that_is_none_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="password_hash is not the base64 of 36 octets") as caught:
        read_hash(text, None)
    assert text not in str(caught.value)
