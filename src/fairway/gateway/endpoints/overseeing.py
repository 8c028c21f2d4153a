"""Endpoints as the gateway's parent sees them: what its own questions found, and what its workers tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fairway.gateway.endpoints.checking import Checker
from fairway.gateway.endpoints.ejection import Standing
from fairway.gateway.endpoints.health import Checked, Fitness
from fairway.traffic.table import Arm, RouteTable
from fairway.units import Digest

Gauge = tuple[str, str, str, Mapping[str, str], float]

MAX_RELEASES = 16
"""Releases whose totals are kept; the one that was told of least lately goes first."""

_TOTALS = {
    "ejections": ("fairway_gateway_ejections_total", "Endpoints a worker left out for a while, by why.", "reason"),
    "turned_away": ("fairway_gateway_turned_away_total", "Requests an arm had no room for, by why.", "reason"),
    "retries": ("fairway_gateway_retries_total", "Requests sent to an arm once more.", ""),
}
"""By name in what a worker tells: metric, help, and the label of what is counted apart."""


class Overseer:
    """All that is known of endpoints outside the workers."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Take what is called when another set of endpoints should serve."""
        self.checker = Checker(changed)
        self._told: dict[int, Mapping[str, Any]] = {}
        self._totals: dict[str, dict[tuple[str, str], float]] = {}

    def take(self, worker: int, stats: Mapping[str, Any]) -> None:
        """What a worker tells of its arms, by release; its counts only grow."""
        arms = stats.get("arms", {})
        before = self._told.get(worker, {})
        for release, told in arms.items():
            totals = self._totals.pop(release, {})
            self._totals[release] = totals
            if len(self._totals) > MAX_RELEASES:
                del self._totals[next(iter(self._totals))]
            for name in _TOTALS:
                counted, known = _by_kind(told[name]), _by_kind(before.get(release, {}).get(name, {}))
                for kind, count in counted.items():
                    totals[name, kind] = totals.get((name, kind), 0) + max(0.0, count - known.get(kind, 0))
        self._told[worker] = arms

    def forget(self, worker: int) -> None:
        """A worker is gone."""
        self._told.pop(worker, None)

    def of_arm(self, arm: Arm) -> list[dict[str, Any]]:
        """The endpoints of an arm for people: state, requests running, and whether they say which release they are."""
        return [self._shown(arm, endpoint) for endpoint in arm.endpoints]

    def _shown(self, arm: Arm, endpoint: str) -> dict[str, Any]:
        checked = self.checker.known.get((arm.release, endpoint))
        told = [found for found in self._of(arm, endpoint) if found is not None]
        shown: dict[str, Any] = {
            "endpoint": endpoint,
            "state": _state(checked, [found["state"] for found in told]),
            "in_flight": sum(found["busy"] for found in told),
            "verified": any(found["verified"] for found in told) or (checked is not None and checked.verified),
        }
        if (out := sum(found["state"] != Standing.IN for found in told)) > 0:
            shown["left_out_by"] = out
        if checked is not None and checked.detail:
            shown["detail"] = checked.detail
        return shown

    def _of(self, arm: Arm, endpoint: str) -> Iterator[Mapping[str, Any] | None]:
        for arms in self._told.values():
            yield arms.get(arm.release, {}).get("endpoints", {}).get(endpoint)

    def left_out(self, table: RouteTable | None) -> tuple[Digest, ...]:
        """Releases that serve without an endpoint the table names, sorted: what is seen of them is of the others."""
        arms = () if table is None else table.arms
        return tuple(
            sorted(arm.release for arm in arms if any(shown["state"] != Fitness.FIT for shown in self.of_arm(arm)))
        )

    def waiting(self, arm: Arm) -> int:
        """Requests that wait for a connection to the arm."""
        return sum(arms[arm.release]["waiting"] for arms in self._told.values() if arm.release in arms)

    def gauges(self, table: RouteTable | None, versions: Mapping[str, str]) -> Iterator[Gauge]:
        """What ``/metrics`` says; ``versions`` names releases for people."""
        arms = () if table is None else table.arms
        states: list[tuple[Arm, str, bool]] = []
        for arm in arms:
            states += [(arm, shown["state"], shown["verified"]) for shown in self.of_arm(arm)]
        for arm in arms:
            for state in (*Fitness, Standing.OUT, Standing.TRIAL):
                labels = {"release": _name(arm.release, versions), "role": arm.role.value, "state": state.value}
                count = sum(state == found and of is arm for of, found, _ in states)
                yield "fairway_gateway_endpoints", "gauge", "Endpoints of the table, by state.", labels, count
        for arm in arms:
            labels = {"release": _name(arm.release, versions), "role": arm.role.value}
            count = sum(said and of is arm for of, _, said in states)
            text = "Endpoints whose answers say that they are their release's."
            yield "fairway_gateway_endpoints_verified", "gauge", text, labels, count
        for arm in arms:
            labels = {"release": _name(arm.release, versions), "role": arm.role.value}
            yield "fairway_gateway_waiting", "gauge", "Requests that wait for their arm.", labels, self.waiting(arm)
        for name, (metric, text, label) in _TOTALS.items():
            for release, totals in self._totals.items():
                for (of, kind), count in sorted(totals.items()):
                    if of == name:
                        yield metric, "counter", text, _labels(_name(release, versions), label, kind), count


def _by_kind(counted: Any) -> Mapping[str, float]:
    return counted if isinstance(counted, Mapping) else {"": counted}


def _labels(release: str, label: str, kind: str) -> dict[str, str]:
    return {"release": release, label: kind} if label else {"release": release}


def _name(release: str, versions: Mapping[str, str]) -> str:
    return versions.get(release, release[-12:])


def _state(checked: Checked | None, standings: list[str]) -> str:
    """What the parent found, and else the worst any worker did."""
    if checked is not None and checked.fitness is not Fitness.FIT:
        return checked.fitness.value
    for standing in (Standing.WRONG, Standing.OUT, Standing.TRIAL):
        if standing in standings:
            return standing.value
    return Fitness.FIT.value
