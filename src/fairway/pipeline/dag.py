"""The order of stages: pure decisions over names, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from fairway.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Stages and what each waits for, in topological order (ties in the order they were declared).

    Attributes:
        after: ``{stage: the stages it waits for}``.
        uses: ``{stage: the holding stages whose resource it needs}``.
        holding: Stages that keep something running for their users.
    """

    order: tuple[str, ...]
    after: Mapping[str, tuple[str, ...]]
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    holding: frozenset[str] = frozenset()

    def users(self, holder: str) -> tuple[str, ...]:
        """Stages that need what ``holder`` keeps running."""
        return tuple(stage for stage in self.order if holder in self.uses.get(stage, ()))

    def ancestors(self, stages: Iterable[str]) -> frozenset[str]:
        """The stages and everything they wait for."""
        found: set[str] = set()
        todo = list(stages)
        while todo:
            stage = todo.pop()
            if stage not in found:
                found.add(stage)
                todo.extend(self.after[stage])
        return frozenset(found)

    def descendants(self, stages: Iterable[str]) -> frozenset[str]:
        """The stages and everything that waits for them."""
        found = set(stages)
        for stage in self.order:
            if found.intersection(self.after[stage]):
                found.add(stage)
        return frozenset(found)


def build_graph(
    after: Mapping[str, tuple[str, ...]],
    *,
    uses: Mapping[str, tuple[str, ...]] | None = None,
    holding: Collection[str] = (),
) -> Graph:
    """Order stages.

    Raises:
        UserError: ``code="unknown_stage"`` when one waits for a stage that is not there, naming the nearest;
            ``code="pipeline_cycle"`` when stages wait for each other, naming the circle.
    """
    for stage, needed in after.items():
        for name in needed:
            if name not in after:
                raise unknown_stage(name, after, where=f"stage '{stage}' comes after '{name}'")
    order: list[str] = []
    done: set[str] = set()
    waiting = dict(after)
    while waiting:
        free = next((s for s, needed in waiting.items() if done.issuperset(needed)), None)
        if free is None:
            circle = " → ".join(_circle(waiting))
            raise UserError(
                f"stages wait for each other: {circle}",
                code="pipeline_cycle",
                hint="take one of them out of the other's 'after' in fairway.yaml",
            )
        order.append(free)
        done.add(free)
        del waiting[free]
    return Graph(order=tuple(order), after=dict(after), uses=dict(uses or {}), holding=frozenset(holding))


def unknown_stage(name: str, known: Iterable[str], *, where: str = "") -> UserError:
    """The error for a stage nobody knows, with the nearest name."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "stages: " + ", ".join(names)
    message = f"there is no stage '{name}'" + (f" ({where})" if where else "")
    return UserError(message, code="unknown_stage", hint=hint)


def _circle(waiting: Mapping[str, tuple[str, ...]]) -> list[str]:
    """One circle among stages that all wait, first name repeated at the end."""
    path = [next(iter(waiting))]
    while True:
        following = next(name for name in waiting[path[-1]] if name in waiting)
        if following in path:
            return [*path[path.index(following) :], following][::-1]
        path.append(following)


def select(
    graph: Graph, *, start: str | None = None, stop: str | None = None, only: Collection[str] = ()
) -> frozenset[str]:
    """The stages to run: from ``start`` on, up to ``stop``, or ``only`` those; a held resource they use comes along.

    Raises:
        UserError: For a name that is not there, or a selection that is empty (``code="nothing_selected"``).
    """
    for name in (start, stop, *only):
        if name is not None and name not in graph.after:
            raise unknown_stage(name, graph.order)
    chosen = frozenset(only) if only else frozenset(graph.order)
    if start is not None:
        chosen &= graph.descendants([start])
    if stop is not None:
        chosen &= graph.ancestors([stop])
    if not chosen:
        raise UserError(
            f"no stage lies between '{start}' and '{stop}'",
            code="nothing_selected",
            hint="'--to' must come after '--from'; the order is " + ", ".join(graph.order),
        )
    return chosen | {holder for stage in chosen for holder in graph.uses.get(stage, ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What to do next.

    Attributes:
        start: Stages that may start now, in order.
        skip: ``{stage: the stage whose end made it pointless}``, in order.
    """

    start: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)


def next_moves(
    graph: Graph,
    selected: Collection[str],
    *,
    opened: Collection[str],
    closed: Mapping[str, str],
    busy: Collection[str],
) -> Moves:
    """Decide what starts and what has become pointless.

    A stage starts once every selected stage it waits for has *opened*; one left out of the selection counts as
    opened. A stage is pointless when one it waits for has *closed*, or when it only holds a resource whose users are
    all closed.

    Args:
        graph: The pipeline.
        selected: Stages of this run.
        opened: Finished stages that let others run.
        closed: ``{finished stage that lets nobody run: root cause}``; the cause of a failed stage is itself.
        busy: Running stages.
    """
    skip: dict[str, str] = {}
    start: list[str] = []
    dead = dict(closed)
    for stage in graph.order:
        if stage not in selected or stage in opened or stage in dead or stage in busy:
            continue
        needed = [name for name in graph.after[stage] if name in selected]
        cause = next((dead[name] for name in needed if name in dead), None)
        if cause is not None:
            skip[stage] = dead[stage] = cause
        elif all(name in opened for name in needed):
            start.append(stage)
    for holder in [stage for stage in start if stage in graph.holding]:
        users = [user for user in graph.users(holder) if user in selected]
        if users and all(user in dead for user in users):
            start.remove(holder)
            skip[holder] = dead[users[0]]
    return Moves(start=tuple(start), skip=skip)


def restorable(graph: Graph, selected: Collection[str], hits: Collection[str]) -> frozenset[str]:
    """Which of the stages with a kept result may use it.

    A holding stage may only when every selected user has a kept result too: somebody else needs its resource to be
    there.
    """
    keep = set(hits)
    for stage in hits:
        if stage in graph.holding and any(user in selected and user not in hits for user in graph.users(stage)):
            keep.discard(stage)
    return frozenset(keep)
