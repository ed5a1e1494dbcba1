"""A small counted collection that costs nothing while it holds one member.

Law: a bucket is a member itself (held once), or a dict of member -> count with at least two holds in it. It is
never empty: the place that held it drops it instead. Members are hashable and are never dicts. Most routing keys
lead to one queue, and most queues have one binding; a dict for each would be most of the memory of a large broker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

T = TypeVar("T")


def added(bucket: T | dict[T, int] | None, member: T) -> T | dict[T, int]:
    """The bucket with one more hold of `member`. None stands for no bucket yet. Changes a dict in place."""
    if bucket is None:
        return member
    if type(bucket) is dict:
        holds = cast("dict[T, int]", bucket)
        holds[member] = holds.get(member, 0) + 1
        return holds
    single = cast("T", bucket)
    if single == member:
        return {single: 2}
    return {single: 1, member: 1}


def removed(bucket: T | dict[T, int], member: T) -> T | dict[T, int] | None:
    """The bucket with one hold of `member` less, None if that was the last. The hold must exist."""
    if type(bucket) is not dict:
        assert bucket == member, "a hold that was never made cannot be released"
        return None
    holds = cast("dict[T, int]", bucket)
    left = holds[member] - 1
    if left:
        holds[member] = left
    else:
        del holds[member]
    if len(holds) == 1:
        single, count = next(iter(holds.items()))
        if count == 1:
            return single
    return holds


def members(bucket: T | dict[T, int] | None) -> Iterable[T]:
    """The distinct members, in no promised order."""
    if bucket is None:
        return ()
    if type(bucket) is dict:
        return cast("dict[T, int]", bucket)
    return (cast("T", bucket),)
