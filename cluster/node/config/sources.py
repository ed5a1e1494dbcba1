"""Where settings come from: a TOML file, then the environment, then flags; the later one wins.

Law: a source yields `Given` values under the keys it names, each with its origin, and judges only whether the
key exists. Types and ranges are judged in one place, by `load`.

Environment: `CLUSTER_MQ_AMQP__PORT` is `amqp.port`. The two underscores keep clear of the variables that
Kubernetes makes for a Service called `cluster-mq-...` (`CLUSTER_MQ_AMQP_PORT=tcp://10.0.0.7:5672`), which are
not ours.
Flags: `--amqp-port`. Secrets have no flag, because a process list shows flags.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from msgspec import Meta
from msgspec.structs import FieldInfo, fields

from cluster.node.config.model import NodeConfig
from cluster.node.config.units import format_bytes

ENVIRONMENT_PREFIX = "CLUSTER_MQ_"
SECRET_KEYS = frozenset({"cluster.secret", "auth.default_password"})


class SourceError(Exception):
    """A source cannot be read at all; the text is one line."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value somebody set: as TOML typed it (`is_text` false) or as text to be read by the option's type."""

    value: object
    origin: str
    is_text: bool


def sections() -> dict[str, type[Any]]:
    """Name of every section -> its struct."""
    return {section.name: section.type for section in fields(NodeConfig)}


def options() -> dict[str, FieldInfo]:
    """Every option: `section.key` -> its field."""
    return {f"{name}.{option.name}": option for name, section in sections().items() for option in fields(section)}


def metas(option: FieldInfo) -> list[Meta]:
    """What is annotated on an option: range, unit, description."""
    return [meta for meta in getattr(option.type, "__metadata__", ()) if isinstance(meta, Meta)]


def choices(option: FieldInfo) -> tuple[str, ...]:
    """The words an option takes; empty for one that takes others too."""
    of = option.type.__origin__
    return get_args(of) if get_origin(of) is Literal else ()


def is_bytes(option: FieldInfo) -> bool:
    return any((meta.extra or {}).get("unit") == "bytes" for meta in metas(option))


def from_file(path: Path, problems: list[str]) -> dict[str, Given]:
    """Every value of a TOML file; unknown keys go to `problems`. SourceError if it cannot be read."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not valid TOML: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{path}: not valid TOML: {error}") from None
    known = options()
    given: dict[str, Given] = {}
    for section, table in document.items():
        if section not in sections():
            keys = [key for key in known if key.endswith(f".{section}")]
            names = keys or list(sections())
            problems.append(f"{path}: {section}: unknown key{nearest(keys[0] if keys else section, names)}")
        elif not isinstance(table, dict):
            problems.append(f"{path}: {section}: expected a table [{section}], got {table!r}")
        else:
            for name, value in table.items():
                key = f"{section}.{name}"
                if key in known:
                    given[key] = Given(value, str(path), is_text=False)
                else:
                    problems.append(f"{path}: {key}: unknown key{nearest(key, list(known))}")
    return given


def from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Given]:
    """Every `CLUSTER_MQ_SECTION__KEY`; unknown ones go to `problems`. Names without `__` are not ours."""
    names = {environment_name(key): key for key in options()}
    given: dict[str, Given] = {}
    for name, value in environ.items():
        if name in names:
            given[names[name]] = Given(value, name, is_text=True)
        elif name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            problems.append(f"{name}: unknown variable{nearest(name, list(names))}")
    return given


def environment_name(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def flag_name(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


class _OneLineParser(argparse.ArgumentParser):
    """Reports a bad command line in one line, where argparse would print its usage as well."""

    def error(self, message: str) -> NoReturn:
        raise SourceError(message)


def from_flags(arguments: Sequence[str]) -> tuple[Path | None, dict[str, Given]]:
    """The `--config` file and every flag given. SourceError for a bad command line; `--help` exits."""
    parser = _OneLineParser(
        prog="clusterd",
        allow_abbrev=False,
        description="A node of a clustered AMQP 0-9-1 broker. Flags win over the environment "
        "(CLUSTER_MQ_SECTION__KEY), which wins over the file. `clusterd dev` runs a cluster on this machine.",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file, as deploy/clusterd.example.toml")
    flags = {flag_name(key): key for key in options() if key not in SECRET_KEYS}
    for flag, key in flags.items():
        parser.add_argument(flag, dest=key, metavar="VALUE", help=_help(options()[key]))
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        flag = unknown[0].split("=")[0]
        raise SourceError(f"{flag}: unknown flag{nearest(flag, [*flags, '--config'])}")
    values = vars(known)
    given = {key: Given(values[key], flag, is_text=True) for flag, key in flags.items() if values[key] is not None}
    return known.config, given


def _help(option: FieldInfo) -> str:
    description = next((meta.description for meta in metas(option) if meta.description), "")
    if option.required:
        return f"{description} (required)".replace("%", "%%")
    default = option.default
    if not isinstance(default, str | int | float) or default == "":
        return description.replace("%", "%%")
    shown: object = format_bytes(default) if is_bytes(option) and isinstance(default, int) else default
    if isinstance(default, bool):
        shown = str(default).lower()
    return f"{description} (default {shown})".replace("%", "%%")


def nearest(name: str, names: list[str]) -> str:
    """`"; did you mean X?"` when a known name is near, else `""`."""
    from difflib import get_close_matches  # only a mistake pays for the import

    matches = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
