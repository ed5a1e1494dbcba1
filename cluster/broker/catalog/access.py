"""Users and what they may do.

Law: a user without permissions on a vhost cannot open it. Permissions are three regular expressions, searched for in
the resource's name; the empty one matches the empty name only, and a broken one nothing. The default exchange is
judged under the name `amq.default`. Topic permissions narrow topic exchanges alone, and only where one was set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import regex

from cluster.broker.errors import (
    BrokerError,
    access_refused,
    exchange_label,
    not_allowed,
    precondition_failed,
    queue_label,
)

Verb: TypeAlias = Literal["configure", "write", "read"]

USER_LIMITS: Final = ("max-connections", "max-channels")
_PATTERNS_CACHED_MAX: Final = 4096
"""Compiled regular expressions kept; beyond it the least recently used is compiled anew when it comes back."""


@dataclass(frozen=True, slots=True)
class User:
    """`password_hash` is opaque to the catalog. "" means that no password fits."""

    name: str
    password_hash: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Permissions:
    configure: str
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class TopicPermissions:
    write: str
    read: str


MATCH_SECONDS_MAX = 0.05
"""A match that takes longer is none."""
MATCH_OVERRUNS_MAX = 4
"""After so many a pattern matches nothing any more, for the life of the process."""


class _Pattern:
    """A regular expression that is given up once it has taken too long too often."""

    __slots__ = ("_compiled", "_overruns")

    def __init__(self, compiled: regex.Pattern[str]) -> None:
        self._compiled = compiled
        self._overruns = 0

    def matches(self, name: str) -> bool:
        if self._overruns >= MATCH_OVERRUNS_MAX:
            return False
        try:
            return self._compiled.search(name, timeout=MATCH_SECONDS_MAX) is not None
        except TimeoutError:
            self._overruns += 1
            return False


@lru_cache(maxsize=_PATTERNS_CACHED_MAX)
def _compiled(pattern: str) -> _Pattern | None:
    try:
        return _Pattern(regex.compile(pattern or "^$"))
    except (regex.error, RecursionError, OverflowError):
        return None


def pattern_matches(pattern: str, name: str) -> bool:
    """Whether `name` contains a match. A broken pattern matches nothing, and so does one that takes too long: an
    operator's mistake must not stop the node. What depends on it here is routing and permission of this node, never
    the replicated state.
    """
    if pattern == ".*":
        return True  # What nearly everybody may.
    compiled = _compiled(pattern)
    return compiled is not None and compiled.matches(name)


def check_pattern(pattern: str) -> None:
    """Raises BrokerError (406) for a broken regular expression.

    Judged before a command is proposed and not when it is applied: what compiles may depend on the Python version.
    """
    if _compiled(pattern) is None:
        raise precondition_failed(f"invalid regular expression '{pattern}'")


class Access:
    """Users, permissions, limits. Changed by the catalog's commands alone."""

    __slots__ = ("limits", "permissions", "topic_permissions", "users")

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.permissions: dict[tuple[str, str], Permissions] = {}
        """(user, vhost); both exist."""
        self.topic_permissions: dict[tuple[str, str], dict[str, TopicPermissions]] = {}
        """(user, vhost) -> exchange -> permissions; user and vhost exist, the exchange need not."""
        self.limits: dict[str, dict[str, int]] = {}
        """user -> limit -> value, never negative; the user exists."""

    def forget_user(self, user: str) -> None:
        del self.users[user]
        self.limits.pop(user, None)
        for key in [key for key in self.permissions if key[0] == user]:
            del self.permissions[key]
        for key in [key for key in self.topic_permissions if key[0] == user]:
            del self.topic_permissions[key]

    def forget_vhost(self, vhost: str) -> None:
        for key in [key for key in self.permissions if key[1] == vhost]:
            del self.permissions[key]
        for key in [key for key in self.topic_permissions if key[1] == vhost]:
            del self.topic_permissions[key]

    def check_vhost(self, user: str, vhost: str) -> None:
        """Raises BrokerError (530, connection) unless the user has permissions on the vhost."""
        if (user, vhost) not in self.permissions:
            raise not_allowed(f"access to vhost '{vhost}' refused for user '{user}'")

    def check_queue(self, user: str, vhost: str, queue: str, verb: Verb) -> None:
        """Raises BrokerError (403) unless the user may do `verb` with the queue."""
        if not self._may(user, vhost, queue, verb):
            raise _refused(queue_label(vhost, queue), user)

    def check_exchange(self, user: str, vhost: str, exchange: str, verb: Verb) -> None:
        """Raises BrokerError (403) unless the user may do `verb` with the exchange ("" is the default one)."""
        name = exchange or "amq.default"
        if not self._may(user, vhost, name, verb):
            raise _refused(exchange_label(vhost, name), user)

    def check_topic(
        self, user: str, vhost: str, exchange: str, routing_key: str, verb: Literal["write", "read"]
    ) -> None:
        """For topic exchanges: raises BrokerError (403) if topic permissions are set and do not fit the key."""
        by_exchange = self.topic_permissions.get((user, vhost))
        if by_exchange is None:
            return
        permissions = by_exchange.get(exchange)
        if permissions is None:
            return
        pattern = permissions.write if verb == "write" else permissions.read
        pattern = pattern.replace("{username}", re.escape(user)).replace("{vhost}", re.escape(vhost))
        if not pattern_matches(pattern, routing_key):
            raise _refused(f"topic '{routing_key}' in {exchange_label(vhost, exchange)}", user)

    def limits_of(self, user: str) -> Mapping[str, int]:
        return self.limits.get(user, {})

    def _may(self, user: str, vhost: str, name: str, verb: Verb) -> bool:
        permissions = self.permissions.get((user, vhost))
        if permissions is None:
            return False
        match verb:
            case "configure":
                pattern = permissions.configure
            case "write":
                pattern = permissions.write
            case "read":
                pattern = permissions.read
        return pattern_matches(pattern, name)


def _refused(label: str, user: str) -> BrokerError:
    return access_refused(f"access to {label} refused for user '{user}'")
