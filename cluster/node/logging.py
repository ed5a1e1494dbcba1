"""What a node writes for people and log collectors: one line for each event, on stderr.

Law: a line is an event with fields, not a sentence with values in it: `log.info("link up", peer="mq-1")`.
Nothing is logged for each message, and no field carries a secret or a payload. Lines are logfmt or JSON; time
is UTC with milliseconds.

On the standard library's logging: structlog would cost each node 6 MB and 0.1 s at start for the same lines.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

_BARE = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Logger:
    """Events of one part of a node: `get_logger("links")`. Fields go by keyword, any name but `event`."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        self._logger.debug("%s", event, extra={"fields": fields})

    def info(self, event: str, **fields: object) -> None:
        self._logger.info("%s", event, extra={"fields": fields})

    def warning(self, event: str, **fields: object) -> None:
        self._logger.warning("%s", event, extra={"fields": fields})

    def error(self, event: str, **fields: object) -> None:
        self._logger.error("%s", event, extra={"fields": fields})

    def exception(self, event: str, **fields: object) -> None:
        """An error with the traceback of the exception being handled, as the field `error`."""
        self._logger.error("%s", event, exc_info=True, extra={"fields": fields})


def get_logger(part: str) -> Logger:
    """The logger of a part of a node, such as `"links"`; shown in the field `part`."""
    return Logger(logging.getLogger(f"cluster.{part}"))


def configure_logging(
    *,
    level: Literal["debug", "info", "warning", "error"],
    shape: Literal["logfmt", "json"],
    node: str,
    stream: TextIO | None = None,
) -> None:
    """Send every record of `level` and above to `stream` (stderr), each with the field `node`.

    Libraries speak up from WARNING on only. Called once at start; calling it again replaces the first.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LogfmtFormatter(node) if shape == "logfmt" else JsonFormatter(node))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("cluster").setLevel(_LEVELS[level])


class _EventFormatter(logging.Formatter):
    """The pairs of a line, in order: time, level, node, part, event, then the event's own as given."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def pairs(self, record: logging.LogRecord) -> dict[str, object]:
        moment = datetime.fromtimestamp(record.created, UTC)
        pairs: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "node": self._node,
            "part": record.name.removeprefix("cluster."),
            "event": record.getMessage(),
        }
        fields: dict[str, object] = getattr(record, "fields", {})
        pairs.update({name: value for name, value in fields.items() if name not in pairs})
        if record.exc_info:
            pairs["error"] = self.formatException(record.exc_info)
        return pairs


class LogfmtFormatter(_EventFormatter):
    """`time=... level=info node=mq-0 part=links event="link up" peer=mq-1`."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_logfmt(value)}" for name, value in self.pairs(record).items())


class JsonFormatter(_EventFormatter):
    """One JSON object a line; a value that JSON does not know is written as its text."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.pairs(record), ensure_ascii=False, separators=(",", ":"), default=str)


def _logfmt(value: object) -> str:
    """The value bare where that is unambiguous, else quoted with JSON's escapes."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
