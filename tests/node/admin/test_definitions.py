"""Definitions: what is read, what is warned of, what is refused, and that a document comes back as it went in."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.node.admin.definitions.document import DefinitionsError
from cluster.node.admin.definitions.export import export, export_vhost
from cluster.node.admin.definitions.load import Imported, load
from cluster.node.admin.definitions.start import load_at_start
from cluster.node.amqp.password_hash import verify
from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeOperations, FakeSource

SHOP: dict[str, Any] = {
    "rabbit_version": "3.12.1",
    "users": [
        {
            "name": "legacy",
            "password_hash": base64.b64encode(b"salt" + hashlib.sha256(b"salt" + b"pw").digest()).decode(),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ["management"],
            "limits": {"max-channels": 7},
        }
    ],
    "vhosts": [{"name": "shop", "metadata": {"description": "s", "tags": ["x"]}, "limits": []}],
    "permissions": [{"user": "legacy", "vhost": "shop", "configure": "", "write": ".*", "read": ".*"}],
    "topic_permissions": [{"user": "legacy", "vhost": "shop", "exchange": "ev", "write": "^a", "read": ".*"}],
    "parameters": [
        {"component": "vhost-limits", "name": "limits", "vhost": "shop", "value": {"max-queues": 50}},
        {
            "component": "operator_policy",
            "name": "cap",
            "vhost": "shop",
            "value": {"pattern": ".*", "definition": {"max-length": 9}, "priority": 1, "apply-to": "queues"},
        },
    ],
    "policies": [
        {"vhost": "shop", "name": "dl", "pattern": "^c", "apply-to": "queues", "priority": 0,
         "definition": {"dead-letter-exchange": "ev"}}
    ],
    "queues": [
        {"name": "carts", "vhost": "shop", "durable": True, "auto_delete": False,
         "arguments": {"x-queue-type": "quorum", "x-max-length": 5}}
    ],
    "exchanges": [
        {"name": "ev", "vhost": "shop", "type": "topic", "durable": True, "auto_delete": False, "internal": False,
         "arguments": {"alternate-exchange": "amq.fanout"}}
    ],
    "bindings": [
        {"source": "ev", "vhost": "shop", "destination": "carts", "destination_type": "queue", "routing_key": "a.#",
         "arguments": {"n": [1, 2.5, "x", {"y": None, "z": True}]}}
    ],
}  # fmt: skip


def variant(**sections: Any) -> dict[str, Any]:
    return {**SHOP, **sections}


async def imported(operations: FakeOperations, document: object, vhost: str | None = None) -> Imported:
    return await load(document, operations.founded.catalog, operations, vhost)


async def test_what_was_imported_is_exported_as_it_was() -> None:
    operations = FakeOperations()
    await imported(operations, {"users": [{"name": "guest", "password": "guest", "tags": "administrator"}]})
    result = await imported(operations, SHOP)
    assert (result.created, result.changed, result.warnings) == (11, 0, ())
    document = await export(operations.founded.catalog)
    for section in ("topic_permissions", "parameters", "policies", "queues", "exchanges", "bindings"):
        assert document[section] == SHOP[section], section
    assert SHOP["users"][0] in document["users"]
    assert SHOP["permissions"][0] in document["permissions"]
    shop = next(vhost for vhost in document["vhosts"] if vhost["name"] == "shop")
    assert (shop["description"], shop["tags"]) == ("s", ["x"])
    other = FakeOperations()
    await imported(other, json.loads(json.dumps(document)))
    assert await export(other.founded.catalog) == document


async def test_a_second_import_writes_nothing() -> None:
    operations = FakeOperations()
    document = variant(users=[*SHOP["users"], {"name": "plain", "password": "secret", "tags": ""}])
    first = await imported(operations, document)
    written = len(operations.commands)
    second = await imported(operations, document)
    assert len(operations.commands) == written == first.created
    assert (second.created, second.changed, second.unchanged) == (0, 0, first.created)
    assert verify(operations.founded.catalog.users["plain"].password_hash, b"secret")


async def test_a_user_without_a_hash_keeps_the_one_that_is_there() -> None:
    operations = FakeOperations()
    await imported(operations, SHOP)
    kept = operations.founded.catalog.users["legacy"].password_hash
    await imported(operations, {"users": [{"name": "legacy", "tags": "monitoring"}]})
    user = operations.founded.catalog.users["legacy"]
    assert (user.password_hash, user.tags) == (kept, ("monitoring",))


async def test_what_differs_is_changed_but_queues_and_exchanges_stay_with_a_warning() -> None:
    operations = FakeOperations()
    await imported(operations, SHOP)
    queue = {**SHOP["queues"][0], "arguments": {"x-queue-type": "quorum", "x-max-length": 6}}
    vhost = {"name": "shop", "description": "another"}
    result = await imported(operations, variant(queues=[queue], vhosts=[vhost]))
    assert (result.created, result.changed) == (0, 1)
    assert result.warnings == (
        "queue 'carts' in vhost 'shop' stays as it is: inequivalent arg 'x-max-length' for queue 'carts' in vhost"
        " 'shop': received '6' but current is '5'",
    )
    shop = operations.founded.catalog.vhosts["shop"]
    assert (shop.description, shop.tags) == ("another", "x")


async def test_each_unknown_part_is_one_warning_and_the_rest_is_carried_out() -> None:
    operations = FakeOperations()
    document = variant(
        global_parameters=[{"name": "cluster_name", "value": "rabbit@x"}],
        parameters=[{"component": "shovel", "name": "s1", "vhost": "shop", "value": {}}],
        policies=[
            {"vhost": "shop", "name": "ha", "pattern": "", "definition": {"ha-mode": "all", "max-length": 1}},
            {"vhost": "shop", "name": "only-ha", "pattern": "", "definition": {"ha-mode": "all"}},
        ],
        federation=[],
    )
    result = await imported(operations, document)
    assert result.warnings == (
        "parameter 's1' of component 'shovel' in vhost 'shop' is skipped: not supported",
        "'ha-mode' of policy 'ha' in vhost 'shop' is skipped: not supported",
        "'ha-mode' of policy 'only-ha' in vhost 'shop' is skipped: not supported",
        "policy 'only-ha' in vhost 'shop' is skipped: nothing is left of its definition",
        "section 'federation' is skipped: unknown",
    )
    shop = operations.founded.catalog.vhosts["shop"]
    assert [p.definition for p in shop.policies.by_name.values()] == [(("max-length", 1),)]


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ([], "definitions must be a JSON object"),
        ({"queues": {}}, "'queues' is not a list"),
        ({"queues": [1]}, "queues[0] is not an object"),
        ({"queues": [{"name": "q", "vhost": "no"}]}, "queues[0] ('q'): there is no vhost 'no'"),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": -1}}]},
            "queues[0] ('q'): invalid arg 'x-max-length' for queue 'q' in vhost '/': {value_negative,-1}",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-queue-type": "stream"}}]},
            "queues[0] ('q'): invalid arg 'x-queue-type' for queue 'q' in vhost '/': "
            "\"unsupported queue type 'stream'\"",
        ),
        ({"queues": [{"name": "", "vhost": "/"}]}, "queues[0] (''): a queue's name cannot be empty"),
        ({"exchanges": [{"name": "e", "vhost": "/", "type": "x"}]}, "exchanges[0] ('e'): unknown exchange type 'x'"),
        (
            {"bindings": [{"source": "e", "vhost": "/", "destination": "q", "destination_type": "queue"}]},
            "bindings[0]: there is no exchange 'e' in vhost '/'",
        ),
        (
            {"bindings": [{"source": "amq.topic", "vhost": "/", "destination": "q", "destination_type": "queue"}]},
            "bindings[0]: there is no queue 'q' in vhost '/'",
        ),
        (
            {"permissions": [{"user": "x", "vhost": "/", "configure": "", "write": "", "read": ""}]},
            "permissions[0]: there is no user 'x'",
        ),
        (
            {"users": [{"name": "u", "password_hash": "x", "hashing_algorithm": "crypt", "tags": ""}]},
            "users[0] ('u'): hashing_algorithm 'crypt' is not one of rabbit_password_hashing_sha256, "
            "rabbit_password_hashing_sha512, rabbit_password_hashing_md5, argon2id",
        ),
        (
            {"policies": [{"vhost": "/", "name": "p", "pattern": "(", "definition": {"expires": 1}}]},
            "policies[0] ('p'): invalid regular expression '('",
        ),
        ({"vhosts": [{"name": "v", "limits": {"max-ducks": 1}}]},
         "vhosts[0] ('v'): limit 'max-ducks' is not one of max-connections, max-queues"),
    ],
)  # fmt: skip
async def test_a_wrong_object_is_named_and_nothing_is_carried_out(document: object, line: str) -> None:
    operations = FakeOperations()
    good = {"vhosts": [{"name": "shop"}]}
    with pytest.raises(DefinitionsError) as caught:
        await imported(operations, good | document if isinstance(document, dict) else document)
    assert str(caught.value) == line
    assert operations.commands == []


async def test_what_the_cluster_refuses_is_named_too() -> None:
    operations = FakeOperations()
    queues = [{"name": name, "vhost": "v"} for name in ("a", "b")]
    with pytest.raises(DefinitionsError) as caught:
        await imported(operations, {"vhosts": [{"name": "v", "limits": {"max-queues": 1}}], "queues": queues})
    assert str(caught.value) == (
        "queue 'b' in vhost 'v': cannot declare queue 'b': queue limit in vhost 'v' (1) is reached"
    )


async def test_the_definitions_of_one_vhost_go_into_another() -> None:
    operations = FakeOperations()
    await imported(operations, SHOP)
    await imported(operations, {"vhosts": [{"name": "copy"}]})
    document = await export_vhost(operations.founded.catalog.vhosts["shop"])
    assert "vhost" not in json.dumps(document["queues"])
    await imported(operations, document, "copy")
    assert await export_vhost(operations.founded.catalog.vhosts["copy"]) == document


async def test_over_http_a_plan_changes_nothing_and_an_import_answers_204_or_its_warnings() -> None:
    source = FakeSource()
    async with served(source) as client:
        plan = (await client.post("definitions?dry_run=true", SHOP)).json()
        assert plan["changes"][0] == {"action": "create", "section": "vhosts", "object": "vhost 'shop'"}
        assert len(plan["changes"]) == 11
        assert "shop" not in source.catalog.vhosts
        assert (await client.post("definitions", SHOP)).status == 204
        warned = await client.post("definitions", {"federation": []})
        assert (warned.status, warned.json()["warnings"]) == (200, ["section 'federation' is skipped: unknown"])
        wrong = await client.post("definitions", {"queues": [{"vhost": "/"}]})
        assert (wrong.status, wrong.reason) == (400, "queues[0]: 'name' is missing")
        assert await client.get("definitions") == await export(source.catalog)


async def test_a_start_with_a_wrong_document_ends_with_its_line(tmp_path: Path) -> None:
    operations = FakeOperations()
    with pytest.raises(OSError, match=r"^d\.json: queues\[0\]: 'name' is missing$"):
        await load_at_start("d.json", {"queues": [{"vhost": "/"}]}, operations.founded.catalog, operations)
    await load_at_start("d.json", SHOP, operations.founded.catalog, operations)
    assert "carts" in operations.founded.catalog.vhosts["shop"].queues


@pytest.mark.parametrize(("part", "status"), [("file", 204), ("other", 400)])
async def test_a_browser_imports_a_file_by_a_form(part: str, status: int) -> None:
    """Measured: RabbitMQ takes the part `file`."""
    form = (
        f'--b42\r\nContent-Disposition: form-data; name="{part}"; filename="d.json"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps(SHOP)}\r\n--b42--\r\n"
    )
    source = FakeSource()
    async with served(source) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=b42"}
        answer = await client.ask("/api/definitions", user="guest:guest", method="POST", body=form, headers=headers)
        assert answer.status == status, answer.body
        assert ("shop" in source.catalog.vhosts) == (part == "file")
        if part == "other":
            assert answer.reason == "the form has no part 'file'"
