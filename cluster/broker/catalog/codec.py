"""Commands as octets in the log.

Law: msgpack `[version, request id, opcode, fields...]`. A command that this program does not know was written by a
newer one: it must not be skipped, because then replicas would differ, so reading it raises and the node stops.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Final, get_args

import msgpack

from cluster.broker.catalog.commands import Command, Several, SingleCommand

COMMAND_VERSION: Final = 1

_SINGLE: Final[dict[int, type[SingleCommand]]] = {cls.opcode: cls for cls in get_args(SingleCommand)}
_NAMES: Final[dict[int, tuple[str, ...]]] = {
    opcode: tuple([field.name for field in fields(cls)]) for opcode, cls in _SINGLE.items()
}


class UnknownCommand(Exception):
    """This is no command that this program can apply. The node must not go on."""


def encode_command(command: Command, request_id: bytes = b"") -> bytes:
    """The octets to propose. `request_id` comes back in the `Outcome`; it means nothing else."""
    return msgpack.packb([COMMAND_VERSION, request_id, *_to_wire(command)])  # type: ignore[no-any-return]


def decode_command(data: bytes) -> tuple[bytes, Command]:
    """(request id, command). Raises UnknownCommand."""
    try:
        version, request_id, opcode, *rest = msgpack.unpackb(data, use_list=False)
        if version != COMMAND_VERSION:
            raise UnknownCommand(f"catalog command version {version} is not known")
        return request_id, _from_wire(opcode, rest)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise UnknownCommand(f"not a catalog command: {error}") from error


def _to_wire(command: Command) -> list[object]:
    if isinstance(command, Several):
        return [Several.opcode, [_to_wire(single) for single in command.commands]]
    return [command.opcode, *[getattr(command, name) for name in _NAMES[command.opcode]]]


def _from_wire(opcode: int, rest: list[object]) -> Command:
    if opcode == Several.opcode:
        (rows,) = rest
        if not isinstance(rows, tuple):
            raise ValueError("several commands must stand in an array")
        return Several(tuple([_SINGLE[row[0]](*row[1:]) for row in rows]))
    return _SINGLE[opcode](*rest)  # type: ignore[arg-type]
