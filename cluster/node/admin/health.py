"""Judgement of reports: is this node ready, is the cluster healthy, what must not be stopped now.

Law: pure. A cluster is healthy when all its members answer and are ready, every group has a leader, no voter is far
behind it, and no alarm stands. It has no quorum when some group has too few answering voters to commit, as far as the
answers tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cluster.node.admin.report import CATALOG_GROUP, ClusterReport, GroupReport, NodeReport

SMALLEST_SET = 3
"""Fewer nodes bear no loss: nobody is advised to have them."""
AWAY_SECONDS = 60.0
"""A node that has been away for longer is hardly on its way back from a restart: what to do about it is said."""
_LEADERLESS = "the catalog group has no leader"
READY_LAG_MAX = 1000
"""A replica this many committed entries behind counts as caught up: less than a round under load."""


def not_ready_reason(report: NodeReport) -> str | None:
    """One line about what keeps a node from serving; None when it is ready."""
    catalog = next((group for group in report.groups if group.id == CATALOG_GROUP), None)
    if report.phase != "running":
        is_alone = report.phase == "starting" and (catalog is None or not catalog.leader)
        return report.waiting_for or (f"{report.phase}: {_LEADERLESS}" if is_alone else report.phase)
    if catalog is None or not catalog.leader:
        return _LEADERLESS
    for group in report.groups:
        lag = group.commit_index - group.applied_index
        if lag > READY_LAG_MAX:
            return f"catching up: group {group.id} is {lag:,} entries behind"
    return None


def state(report: NodeReport) -> str:
    """The node in a word: starting, draining, no-leader, catching-up, ready."""
    reason = not_ready_reason(report)
    if reason is None:
        return "ready"
    if report.phase != "running":
        return report.phase
    return "catching-up" if reason.startswith("catching up") else "no-leader"


class Health(Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    NO_QUORUM = "no-quorum"


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as all answers together show it. `up` are the voters that answer, `lags` entries behind the leader's
    commit index by replica (None: not known), `far` those that lack more than the leader has in memory."""

    id: int
    leader: str
    term: int
    commit_index: int
    voters: tuple[str, ...]
    learners: tuple[str, ...]
    up: tuple[str, ...]
    applied: dict[str, int]
    lags: dict[str, int | None]
    faults: dict[str, str]
    far: tuple[str, ...] = ()

    @property
    def majority(self) -> int:
        return len(self.voters) // 2 + 1

    @property
    def spare(self) -> int:
        """How many more voters may go before nothing can be committed; negative: it is so already."""
        return len(self.up) - self.majority

    @property
    def fit(self) -> tuple[str, ...]:
        """Voters that answer and have what is committed, or nearly: who is far behind helps to commit nothing yet."""
        return tuple(name for name in self.up if name not in self.far and (self.lags[name] or 0) <= READY_LAG_MAX)

    @property
    def can_lose(self) -> int:
        """How many voters, whichever, may go before nothing can be committed for a while."""
        return max(0, len(self.fit) - self.majority)

    @property
    def critical_nodes(self) -> tuple[str, ...]:
        """Voters of which any one may not stop now."""
        return self.fit if self.spare >= 0 and not self.can_lose else ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`can_lose` is the number of nodes, whichever, that may go before some group loses its quorum."""

    health: Health
    can_lose: int
    problems: tuple[str, ...]


def group_views(cluster: ClusterReport) -> list[GroupView]:
    """Every group that some answer mentions, by id."""
    seen: dict[int, dict[str, GroupReport]] = {}
    for member in cluster.members:
        for group in member.report.groups if member.report else ():
            seen.setdefault(group.id, {})[member.name] = group
    return [_view(identifier, seen[identifier]) for identifier in sorted(seen)]


def _view(identifier: int, replicas: dict[str, GroupReport]) -> GroupView:
    leaders = [(group.term, name) for name, group in replicas.items() if group.role == "leader"]
    leader = max(leaders)[1] if leaders else ""
    newest = replicas[leader] if leader else max(replicas.values(), key=lambda group: (group.term, group.commit_index))
    applied = {name: group.applied_index for name, group in replicas.items()}
    lags: dict[str, int | None] = {}
    for name in (*newest.voters, *newest.learners):
        known = applied.get(name, newest.match_indexes.get(name))
        lags[name] = None if known is None else max(0, newest.commit_index - known)
    return GroupView(
        id=identifier,
        leader=leader,
        term=newest.term,
        commit_index=newest.commit_index,
        voters=newest.voters,
        learners=newest.learners,
        up=tuple(name for name in newest.voters if name in replicas and not replicas[name].fault),
        applied=applied,
        lags=lags,
        faults={name: group.fault for name, group in replicas.items() if group.fault},
        far=replicas[leader].far if leader else (),
    )


def judge(cluster: ClusterReport, groups: Sequence[GroupView]) -> Verdict:
    """The verdict, its problems worst first, each one line."""
    lost = [group for group in groups if group.spare < 0]
    problems: list[str] = []
    if lost:
        problems.append(_no_quorum(cluster, lost))
    weakened = [group for group in groups if len(group.fit) < len(group.voters)]
    critical = sorted({name for group in weakened for name in group.critical_nodes})
    if critical:
        problems.append(f"Do not stop {_either(critical)}: it would cost a quorum.")
    for member in cluster.members:
        report = member.report
        if report is None:
            problems.append(f"{member.name} is unreachable: {member.unreachable_reason}")
            continue
        reason = not_ready_reason(report)
        if reason is not None:
            problems.append(f"{member.name} is not ready: {reason}")
        elif late := [group for group in groups if member.name in group.up and member.name not in group.fit]:
            worst = max(late, key=lambda group: group.lags[member.name] or 0)
            behind = f"group {worst.id} is {worst.lags[member.name]:,} entries behind"
            more = f", and {len(late) - 1} more are" if late[1:] else ""
            problems.append(f"{member.name} is catching up: {behind}{more}")
        problems += [
            f"{member.name}: {alarm} alarm: publishers are blocked, consumers go on" for alarm in report.alarms
        ]
    problems += _away(cluster, is_lost=bool(lost))
    for group in groups:
        if not group.leader and group.spare >= 0:
            problems.append(f"group {group.id} has no leader")
        problems += [f"group {group.id} on {name}: {fault}" for name, fault in group.faults.items()]
    if not groups:
        problems.append("the cluster is not founded yet")
    health = Health.NO_QUORUM if lost else Health.DEGRADED if problems else Health.HEALTHY
    can_lose = min((group.can_lose for group in groups), default=0)
    return Verdict(health=health, can_lose=can_lose, problems=tuple(problems))


def _no_quorum(cluster: ClusterReport, lost: Sequence[GroupView]) -> str:
    missing = [f"{member.name} ({member.unreachable_reason})" for member in cluster.members if member.report is None]
    named = ", ".join(str(group.id) for group in lost[:8]) + (", ..." if len(lost) > 8 else "")
    worst = min(lost, key=lambda group: group.spare)
    return (
        f"NO QUORUM in group{'s' if len(lost) > 1 else ''} {named}: {len(worst.up)}/{len(worst.voters)} "
        f"(need {worst.majority}). Publishing refused, no data discarded."
        + (f" Missing: {', '.join(missing)}" if missing else "")
    )


def _away(cluster: ClusterReport, *, is_lost: bool) -> list[str]:
    """What to do about members that do not come back: they are counted until they are let go."""
    own = next((m.report for m in cluster.members if m.report and m.name == cluster.answered_by), None)
    known_for = own.uptime_seconds if own is not None else 0.0
    away = [
        member.name
        for member in cluster.members
        if member.report is None
        and member.membership != "gone"
        and (known_for if member.last_seen_seconds is None else member.last_seen_seconds) >= AWAY_SECONDS
    ]
    if not away:
        return []
    who = " and ".join([part for part in (", ".join(away[:-1]), away[-1]) if part])
    first = f"{who} have been away and still count" if away[1:] else f"{who} has been away and still counts"
    start = "start them again" if away[1:] else "start it again"
    command = _letting_go(away, [member.name for member in cluster.members])
    if is_lost:
        return [f"{first}: {start}. Only with a quorum can anybody be let go: {command}"]
    return [f"{first}: {start}, or, gone for good, let go: {command}"]


def _letting_go(away: Sequence[str], everybody: Sequence[str]) -> str:
    """As a StatefulSet that is smaller now, if it is the highest ordinals that are away."""
    ordinals = {name: int(found[1]) for name in everybody if (found := re.search(r"-(\d+)$", name))}
    lowest = min(ordinals.get(name, 0) for name in away)
    if lowest >= SMALLEST_SET and all(name in away or ordinals.get(name, lowest) < lowest for name in everybody):
        return f"clusterctl nodes scale {lowest}"
    return ", ".join(f"clusterctl nodes remove {name}" for name in away)


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
