"""Users and permissions over RabbitMQ's management paths: what is kept of them, and what they allow their callers."""

from __future__ import annotations

import base64
import hashlib

from cluster.broker.catalog.commands import PutUser, SetPermissions
from cluster.node.amqp.password_hash import verify
from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource


def grant(source: FakeSource, user: str, pattern: str = ".*", vhost: str = "/") -> None:
    source.operations.founded.ok(PutUser(user, "hash"), SetPermissions(user, vhost, pattern, pattern, pattern))


async def test_whoever_makes_a_vhost_gets_all_permissions_on_it() -> None:
    async with served(FakeSource()) as client:
        await client.put("vhosts/v", {"default_queue_type": "quorum", "tags": ["a", "b"]})
        assert await client.get("permissions/v/guest") == {
            "user": "guest",
            "vhost": "v",
            "configure": ".*",
            "write": ".*",
            "read": ".*",
        }
        assert (await client.get("vhosts/v"))["metadata"] == {
            "description": "",
            "tags": ["a", "b"],
            "default_queue_type": "quorum",
        }


async def test_a_users_password_is_hashed_and_a_hash_of_rabbitmq_is_kept() -> None:
    source = FakeSource()
    text = base64.b64encode(b"salt" + hashlib.sha512(b"salt" + b"pw").digest()).decode()
    async with served(source) as client:
        await client.put("users/own", {"password": "pw", "tags": ["monitoring", "policymaker"]})
        theirs = {"password_hash": text, "hashing_algorithm": "rabbit_password_hashing_sha512", "tags": "administrator"}
        assert (await client.put("users/theirs", theirs)).status == 201
        assert await client.get("users/theirs") == {
            "name": "theirs",
            "password_hash": text,
            "hashing_algorithm": "rabbit_password_hashing_sha512",
            "tags": ["administrator"],
            "limits": {},
        }
        assert (await client.get("users/own"))["hashing_algorithm"] == "argon2id"
    for name in ("own", "theirs"):
        kept = source.catalog.users[name].password_hash
        assert verify(kept, b"pw")
        assert not verify(kept, b"other")


async def test_a_user_with_the_tag_management_sees_and_changes_what_the_permissions_allow() -> None:
    source = FakeSource()
    async with served(source) as client:
        assert await client.names("queues", "team:t") == []
        hidden = await client.ask("/api/queues/%2F", user="team:t")
        assert (hidden.status, hidden.reason) == (403, "access to vhost '/' refused for user 'team'")
        grant(source, "team", "^team")
        assert await client.names("vhosts", "team:t") == ["/"]
        assert (await client.put("queues/%2F/team-1", {}, "team:t")).status == 201
        refused = await client.put("queues/%2F/other", {}, "team:t")
        assert (refused.status, refused.reason) == (403, "access to queue 'other' in vhost '/' refused for user 'team'")
        assert (await client.delete("queues/%2F/orders", "team:t")).status == 403
        for path in ("users", "permissions", "definitions", "nodes"):
            assert (await client.ask(f"/api/{path}", user="team:t")).status == 403, path
        assert (await client.put("policies/%2F/p", {}, "team:t")).status == 403


async def test_a_policymaker_sets_policies_where_the_user_has_permissions_and_no_operator_policies() -> None:
    source = FakeSource()
    policy = {"pattern": ".*", "definition": {"max-length": 5}}
    async with served(source) as client:
        assert (await client.put("policies/%2F/p", policy, "rules:r")).status == 403
        grant(source, "rules")
        assert (await client.put("policies/%2F/p", policy, "rules:r")).status == 201
        assert (await client.put("operator-policies/%2F/p", policy, "rules:r")).status == 403


async def test_who_monitors_sees_everything_and_changes_nothing() -> None:
    async with served(FakeSource()) as client:
        assert await client.names("queues", "watch:w:w") == ["orders"]
        assert (await client.put("queues/%2F/q", {}, "watch:w:w")).status == 403
        assert (await client.delete("queues/%2F/orders", "watch:w:w")).status == 403


async def test_an_administrator_deletes_and_purges_without_permissions_on_the_vhost() -> None:
    source = FakeSource()
    async with served(source) as client:
        await client.put("vhosts/v", {})
        await client.put("queues/v/q", {})
        await client.delete("permissions/v/guest")
        assert (await client.put("queues/v/q2", {})).status == 403
        assert (await client.delete("queues/v/q/contents")).status == 204
        assert (await client.delete("queues/v/q")).status == 204


async def test_topic_permissions_that_were_never_given_are_not_found() -> None:
    async with served(FakeSource()) as client:
        assert (await client.ask("/api/topic-permissions/%2F/guest", user="guest:guest")).status == 404


async def test_topic_permissions_on_one_exchange_are_a_list_of_one() -> None:
    async with served(FakeSource()) as client:
        given = {"exchange": "amq.topic", "write": "^a", "read": ".*"}
        await client.put("topic-permissions/%2F/guest", given)
        path = "topic-permissions/%2F/guest/"
        assert await client.get(f"{path}amq.topic") == [{"user": "guest", "vhost": "/", **given}]
        assert (await client.ask(f"/api/{path}amq.direct", user="guest:guest")).status == 404
