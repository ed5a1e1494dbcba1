"""Complaints: what goes wrong again and again, said once a minute.

Law: a complaint is identified by its subject (a peer's name, or a stranger's host) and its kind; within the
interval only the first is logged. The table is bounded: when full it is emptied, and complaints may repeat.
"""

from __future__ import annotations

import trio

from cluster.node.logging import get_logger

_SUBJECTS_MAX = 1024


class Complaints:
    """A log that does not repeat itself."""

    __slots__ = ("_interval_seconds", "_log", "_silent_until")

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._silent_until: dict[tuple[str, str], float] = {}
        self._log = get_logger("links")

    def say(self, subject: str, kind: str, text: str) -> None:
        """Log `text` as a warning, unless the same kind was said of the same subject within the interval."""
        now = trio.current_time()
        key = (subject, kind)
        if now < self._silent_until.get(key, now):
            return
        if len(self._silent_until) >= _SUBJECTS_MAX:
            self._silent_until.clear()
        self._silent_until[key] = now + self._interval_seconds
        self._log.warning(text, peer=subject)

    def forget(self, subject: str) -> None:
        """The subject is well again: its next complaint is news."""
        for key in [key for key in self._silent_until if key[0] == subject]:
            del self._silent_until[key]
