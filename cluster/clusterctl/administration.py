"""Users, vhosts, permissions, policies, limits.

Law: one request changes one thing; what is changed in part (a password, tags) keeps the rest as the node has it.
A password that is not on the command line is read from stdin, because a process list shows command lines.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from typing import Any

from cluster.clusterctl.api import Api
from cluster.clusterctl.codes import UsageError, done, listed


def _password(given: str | None) -> str:
    if given is not None:
        return given
    password = getpass.getpass("new password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password:
        raise UsageError("a password is needed, as an argument or on stdin")
    return password


def _tags(words: list[str]) -> list[str]:
    return [tag for word in words for tag in word.split(",") if tag]


def users_list(asked: argparse.Namespace, api: Api) -> int:
    columns = (("NAME", "name"), ("TAGS", "tags"), ("HASH", "hashing_algorithm"), ("LIMITS", "limits"))
    return listed(asked, api.get("users"), columns)


def users_add(asked: argparse.Namespace, api: Api) -> int:
    password = _password(asked.new_password)
    known = [user["name"] for user in api.get("users")]
    if asked.name in known:
        raise UsageError(f"there is a user {asked.name} already; see users password, users tags")
    api.put("users", asked.name, document={"password": password, "tags": _tags(asked.tags)})
    return done(asked, f"added user {asked.name}")


def users_delete(asked: argparse.Namespace, api: Api) -> int:
    api.delete("users", asked.name)
    return done(asked, f"deleted user {asked.name}")


def users_password(asked: argparse.Namespace, api: Api) -> int:
    user = api.get("users", asked.name)
    api.put("users", asked.name, document={"password": _password(asked.new_password), "tags": user["tags"]})
    return done(asked, f"changed the password of user {asked.name}")


def users_tags(asked: argparse.Namespace, api: Api) -> int:
    user = api.get("users", asked.name)
    kept = {key: user[key] for key in ("password_hash", "hashing_algorithm")}
    tags = _tags(asked.tags)
    api.put("users", asked.name, document={**kept, "tags": tags})
    return done(asked, f"user {asked.name} has the tags {', '.join(tags) or '(none)'}")


def vhosts_list(asked: argparse.Namespace, api: Api) -> int:
    columns = (
        ("NAME", "name"),
        ("DESCRIPTION", "description"),
        ("TAGS", "tags"),
        ("DEFAULT QUEUE TYPE", "default_queue_type"),
    )
    return listed(asked, api.get("vhosts"), columns)


def vhosts_add(asked: argparse.Namespace, api: Api) -> int:
    given = {"description": asked.description, "default_queue_type": asked.default_queue_type}
    document: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if asked.tags:
        document["tags"] = _tags(asked.tags)
    api.put("vhosts", asked.name, document=document)
    return done(asked, f"added vhost {asked.name}")


def vhosts_delete(asked: argparse.Namespace, api: Api) -> int:
    api.delete("vhosts", asked.name)
    return done(asked, f"deleted vhost {asked.name} with everything in it")


def permissions_list(asked: argparse.Namespace, api: Api) -> int:
    documents = [d for d in api.get("permissions") if asked.vhost in (None, d["vhost"])]
    columns = (("VHOST", "vhost"), ("USER", "user"), ("CONFIGURE", "configure"), ("WRITE", "write"), ("READ", "read"))
    return listed(asked, documents, columns)


def permissions_set(asked: argparse.Namespace, api: Api) -> int:
    document = {"configure": asked.configure, "write": asked.write, "read": asked.read}
    api.put("permissions", asked.vhost, asked.name, document=document)
    return done(asked, f"set the permissions of user {asked.name} on vhost {asked.vhost}")


def permissions_clear(asked: argparse.Namespace, api: Api) -> int:
    api.delete("permissions", asked.vhost, asked.name)
    return done(asked, f"cleared the permissions of user {asked.name} on vhost {asked.vhost}")


def topic_permissions_list(asked: argparse.Namespace, api: Api) -> int:
    documents = [d for d in api.get("topic-permissions") if asked.vhost in (None, d["vhost"])]
    columns = (("VHOST", "vhost"), ("USER", "user"), ("EXCHANGE", "exchange"), ("WRITE", "write"), ("READ", "read"))
    return listed(asked, documents, columns)


def topic_permissions_set(asked: argparse.Namespace, api: Api) -> int:
    document = {"exchange": asked.exchange, "write": asked.write, "read": asked.read}
    api.put("topic-permissions", asked.vhost, asked.name, document=document)
    return done(asked, f"set the topic permissions of user {asked.name} on exchange {asked.exchange}")


def topic_permissions_clear(asked: argparse.Namespace, api: Api) -> int:
    rest = [asked.exchange] if asked.exchange else []
    api.delete("topic-permissions", asked.vhost, asked.name, *rest)
    return done(asked, f"cleared topic permissions of user {asked.name} on vhost {asked.vhost}")


def _policies(asked: argparse.Namespace) -> str:
    return "operator-policies" if asked.operator else "policies"


def policies_list(asked: argparse.Namespace, api: Api) -> int:
    parts = [_policies(asked)] + ([asked.vhost] if asked.vhost else [])
    columns = (
        ("VHOST", "vhost"),
        ("NAME", "name"),
        ("PATTERN", "pattern"),
        ("APPLY TO", "apply-to"),
        ("PRIORITY", "priority"),
        ("DEFINITION", "definition"),
    )
    return listed(asked, api.get(*parts), columns)


def policies_set(asked: argparse.Namespace, api: Api) -> int:
    try:
        definition = json.loads(asked.definition)
    except ValueError as error:
        raise UsageError(f"the definition is not JSON: {error}") from None
    document = {
        "pattern": asked.pattern,
        "definition": definition,
        "priority": asked.priority,
        "apply-to": asked.apply_to,
    }
    api.put(_policies(asked), asked.vhost, asked.name, document=document)
    return done(asked, f"set policy {asked.name} in vhost {asked.vhost}")


def policies_delete(asked: argparse.Namespace, api: Api) -> int:
    api.delete(_policies(asked), asked.vhost, asked.name)
    return done(asked, f"deleted policy {asked.name} in vhost {asked.vhost}")


def limits_list(asked: argparse.Namespace, api: Api) -> int:
    documents = [
        {"of": of, "name": document[of], "limit": limit, "value": value}
        for of in ("vhost", "user")
        for document in api.get(f"{of}-limits")
        for limit, value in document["value"].items()
    ]
    return listed(asked, documents, (("OF", "of"), ("NAME", "name"), ("LIMIT", "limit"), ("VALUE", "value")))


def limits_set(asked: argparse.Namespace, api: Api) -> int:
    api.put(f"{asked.of}-limits", asked.name, asked.limit, document={"value": asked.value})
    return done(asked, f"{asked.limit} of {asked.of} {asked.name} is {asked.value}")


def limits_clear(asked: argparse.Namespace, api: Api) -> int:
    api.delete(f"{asked.of}-limits", asked.name, asked.limit)
    return done(asked, f"{asked.limit} of {asked.of} {asked.name} is cleared")
