"""What taking back one component would come to, before anything is cut or moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairway.bootstrap import Workspace
from fairway.controller.facts import parts_never_stable
from fairway.incident.kinds import KINDS, Kind
from fairway.recovery.deriving import Prepared, prepare
from fairway.recovery.options import route_state
from fairway.release.values import SignedRelease


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentBack:
    """A derived release as ``--only`` would make it.

    Attributes:
        prepared: What it is made of, what vouches for it and what has to be checked first.
        never_stable: Its parts that were never stable here.
        direct: Whether it would go to everybody in one step, and prove itself in a soak.
    """

    prepared: Prepared
    never_stable: tuple[str, ...]
    direct: bool

    @property
    def way(self) -> str:
        """How it would go live, in words."""
        if self.direct:
            return "to everybody in one step, once its policy's approvals are given; a soak proves it"
        parts = ", ".join(self.never_stable)
        return f"by the policy's steps: {f'{parts} was never stable here' if parts else 'as asked'}"

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        prepared, facts = self.prepared, KINDS[Kind.COMPONENT]
        names = {one.release_digest: one.release_version for one in prepared.donors}
        return {
            "from": prepared.base.release_version,
            "to": str(prepared.version),
            "release": prepared.derived.digest,
            "parts": {part.value: names[digest] for part, digest in prepared.derived.donors.items()},
            "kind": facts.kind.value,
            "seconds": list(facts.seconds),
            "risk": facts.risk.value,
            "direct": self.direct,
            "way": self.way,
            "never_stable": list(self.never_stable),
            "inherited": sorted(prepared.inherited),
            "to_check": dict(prepared.lacks),
        }


def component_back(
    workspace: Workspace, base: SignedRelease, donor: SignedRelease, only: Sequence[str], *, by_policy: bool
) -> ComponentBack:
    """What ``--only`` would do now.

    Args:
        workspace: The open project.
        base: What is stable.
        donor: Whose components are taken.
        only: Their names.
        by_policy: Whether the policy's steps were asked for.

    Raises:
        RefusedError, UserError: As :func:`fairway.recovery.deriving.prepare`.
    """
    prepared = prepare(workspace, base, [(name, donor) for name in only], now=workspace.clock.now())
    mixed = replace(prepared.base, components=prepared.derived.components)
    never = parts_never_stable(workspace.ledger, workspace.project.name, mixed, route_state(workspace))
    return ComponentBack(prepared=prepared, never_stable=never, direct=not never and not by_policy)
