"""From what was given to a checked `NodeConfig`.

Law: every mistake is one line that names where it was made, which option it is and what was expected; all
mistakes are reported at once. A secret's value never appears in a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import FieldInfo

from cluster.node.config.model import WILDCARD_HOSTS, ClusterSection, NodeConfig
from cluster.node.config.peers import parse_peer
from cluster.node.config.sources import (
    SECRET_KEYS,
    Given,
    SourceError,
    choices,
    environment_name,
    from_environment,
    from_file,
    from_flags,
    is_bytes,
    options,
    sections,
)
from cluster.node.config.units import parse_bytes


class ConfigError(Exception):
    """The node must not start. `problems` holds one line for each mistake, at least one."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(arguments: Sequence[str], environ: Mapping[str, str]) -> NodeConfig:
    """The configuration that a command line (without the program's name) and an environment give.

    Raises ConfigError; SystemExit(0) after `--help`.
    """
    problems: list[str] = []
    try:
        path, flags = from_flags(arguments)
        file = from_file(path, problems) if path else {}
    except SourceError as error:
        raise ConfigError([str(error)]) from None
    given = {**file, **from_environment(environ, problems), **flags}
    config = _build(given, problems)
    if config is None or problems:
        raise ConfigError(problems)
    return config


def _build(given: Mapping[str, Given], problems: list[str]) -> NodeConfig | None:
    values: dict[str, dict[str, Any]] = {name: {} for name in sections()}
    for key, option in options().items():
        section, name = key.split(".")
        if key in given:
            try:
                values[section][name] = _convert(option, given[key])
            except ValueError as error:
                problems.append(f"{given[key].origin}: {key}: {_told(key, str(error), option, given[key])}")
        elif option.required:
            problems.append(f"{key}: required; set it in the file, by {environment_name(key)} or by a flag")
    if problems:
        return None
    made = {name: section(**values[name]) for name, section in sections().items()}
    _check_peers(made["cluster"], given, problems)
    made["cluster"] = _with_secret(made["cluster"], given, problems)
    config = NodeConfig(**made)
    if not problems:
        problems.extend(_contradictions(config))
    return config


def _convert(option: FieldInfo, given: Given) -> object:
    """The value as the option's type. ValueError says what was expected."""
    value = given.value
    if is_bytes(option) and isinstance(value, str):
        value = parse_bytes(value)
    elif given.is_text and option.name == "peers":
        value = [part for part in re.split(r"[,\s]+", str(value)) if part]
    return msgspec.convert(value, option.type, strict=not given.is_text)


def _told(key: str, message: str, option: FieldInfo, given: Given) -> str:
    """msgspec's message as a clause, with the value it was about."""
    clause = message.replace("`", "").partition(" - at ")[0].partition(", got ")[0]
    clause = clause[0].lower() + clause[1:]
    if clause.startswith("invalid enum"):
        clause = f"expected one of {', '.join(choices(option))}"
    return clause if key in SECRET_KEYS else f"{clause}, got {given.value!r}"


def _check_peers(cluster: ClusterSection, given: Mapping[str, Given], problems: list[str]) -> None:
    names: set[str] = set()
    for text in cluster.peers:
        origin = given["cluster.peers"].origin
        try:
            spec = parse_peer(text)
        except ValueError as error:
            problems.append(f"{origin}: cluster.peers: {error}")
            continue
        if spec.name in names:
            problems.append(f"{origin}: cluster.peers: {spec.name} is named twice")
        names.add(spec.name)


def _with_secret(cluster: ClusterSection, given: Mapping[str, Given], problems: list[str]) -> ClusterSection:
    """The section with the secret read from `secret_file`, without the white space around it."""
    if not cluster.secret_file:
        return cluster
    origin = given["cluster.secret_file"].origin
    if cluster.secret:
        problems.append(f"{origin}: cluster.secret_file: cluster.secret is set too; give one of them")
        return cluster
    try:
        secret = Path(cluster.secret_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        problems.append(f"{origin}: cluster.secret_file: cannot read {cluster.secret_file}: {error.strerror}")
        return cluster
    except UnicodeDecodeError:
        problems.append(f"{origin}: cluster.secret_file: {cluster.secret_file} is not UTF-8 text")
        return cluster
    if not secret:
        problems.append(f"{origin}: cluster.secret_file: {cluster.secret_file} is empty")
    return msgspec.structs.replace(cluster, secret=secret)


def _contradictions(config: NodeConfig) -> list[str]:
    """What each option alone cannot show."""
    found: list[str] = []
    if config.peer.advertise:
        try:
            parse_peer(f"{config.node.name}={config.peer.advertise}")
        except ValueError:
            return [f"peer.advertise: expected host:port, got {config.peer.advertise!r}"]
    others = config.other_members
    named = len(config.cluster.peers) > len(others)
    if others and not config.cluster.secret:
        found.append("cluster.secret: required when there are peers; set it or cluster.secret_file")
    if others and not named and not config.peer.advertise and config.peer.host in WILDCARD_HOSTS:
        found.append(
            f"cluster.peers: {config.node.name} is not named and peer.host is {config.peer.host!r}; "
            "add it, or set peer.advertise, so that all nodes know its address"
        )
    if config.raft.election_ticks < 3 * config.raft.heartbeat_ticks:
        found.append(
            f"raft.election_ticks: expected at least 3 heartbeats ({3 * config.raft.heartbeat_ticks} ticks), "
            f"got {config.raft.election_ticks}"
        )
    return [*found, *_tls_contradictions(config), *_twin_ports(config)]


def _tls_contradictions(config: NodeConfig) -> list[str]:
    tls = config.tls
    found: list[str] = []
    if bool(tls.cert) != bool(tls.key):
        found.append("tls.cert, tls.key: one is no use without the other")
    if tls.verify != "none" and not tls.ca:
        found.append(f"tls.verify: {tls.verify!r} needs tls.ca")
    if config.http.tls and not tls.cert:
        found.append("http.tls: needs tls.cert and tls.key")
    for option, is_on in (("tls", config.peer.tls), ("tls_optional", config.peer.tls_optional)):
        if is_on and not (tls.cert and tls.ca):
            found.append(f"peer.{option}: needs tls.cert, tls.key and tls.ca")
    if not config.amqp.port and not (tls.cert and config.amqp.tls_port):
        found.append("amqp.port: no client could connect; set it, or amqp.tls_port and tls.cert")
    return found


def _twin_ports(config: NodeConfig) -> list[str]:
    ports = {"amqp.port": config.amqp.port, "http.port": config.http.port, "peer.port": config.peer.port}
    if config.tls.cert:
        ports["amqp.tls_port"] = config.amqp.tls_port
    found: list[str] = []
    for index, (name, port) in enumerate(ports.items()):
        twin = next((other for other in list(ports)[:index] if port and ports[other] == port), None)
        if twin is not None:
            found.append(f"{name}: {port} is {twin} already")
    return found
