"""``strategy: auto``: which strategy fits what changed, why, and what it risks and costs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairway.bundle.components import Component
from fairway.rollout.values import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What differs between stable and a candidate.

    Attributes:
        components: Those with another digest; where only the infrastructure part of the policies differs, without it.
        infrastructure: How it is started, scaled or routed differs, and nothing that changes behaviour.
        breaking: Why the two should not serve side by side for long; empty when they may.
        risky_tools: Tools of high or critical risk that stable does not have, or has at a lower risk.
    """

    components: frozenset[Component] = frozenset()
    infrastructure: bool = False
    breaking: str = ""
    risky_tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A strategy, and the sentence that says why.

    Attributes:
        shadow_first: Copies of requests go to a shadow before anybody meets the candidate.
        approval: A person says yes before anybody meets it, whatever the policy asks for.
    """

    strategy: Strategy
    why: str
    shadow_first: bool = False
    approval: bool = False


_BEHAVIOUR = (Component.PROMPTS, Component.MODELS, Component.TOOLS, Component.POLICIES)


_UNHEEDED = (
    "a person approves it; requests are not mirrored, because rollout.shadow.heeded does not say that the agent"
    " reaches no real tool as a shadow"
)

NOT_COMPARED = Choice(strategy=Strategy.CANARY, why="what it changes of a stable release has not been looked at")
"""Of a plan for nobody in particular, and of a first release, which has no steps."""

POSSIBLE = (
    Choice(strategy=Strategy.CANARY, why=""),
    Choice(strategy=Strategy.CANARY, why="", approval=True),
    Choice(strategy=Strategy.ROLLING, why=""),
    Choice(strategy=Strategy.BLUE_GREEN, why=""),
    Choice(strategy=Strategy.BLUE_GREEN, why="", approval=True),
    Choice(strategy=Strategy.BLUE_GREEN, why="", shadow_first=True),
    Choice(strategy=Strategy.SHADOW, why="", shadow_first=True),
)
"""What :func:`choose` may come to, without the reasons."""


def choose(changes: Changes | None, *, heeded: bool = False) -> Choice:
    """The strategy for what changed.

    ============================================  ==============================================
    what changed                                  strategy
    ============================================  ==============================================
    unknown (stable's release cannot be read)     canary, once a person said yes
    breaking: declared, major version, state      blue-green; mirrored first with a risky tool
    a tool of high or critical risk is new        shadow: mirrored first, then the canary's steps
    prompts, models, tools or policies            canary
    code or infrastructure alone                  rolling
    nothing of it                                 canary
    ============================================  ==============================================

    A shadow whose agent does not heed that it is one acts twice, and Fairway cannot tell. So nothing is mirrored unless
    the project declares that its agent does: else a new risky tool is met by the first step's share once a person
    said yes.

    Args:
        changes: ``None``: not known.
        heeded: The project declares that its agent reaches no real tool as a shadow.
    """
    if changes is None:
        why = "what changed since stable is not known, so a person approves it"
        return Choice(strategy=Strategy.CANARY, approval=True, why=why)
    shadow = f"new tools of high risk ({', '.join(changes.risky_tools)})" if changes.risky_tools else ""
    if changes.breaking:
        first = f"; {shadow}, so {'requests are mirrored first' if heeded else _UNHEEDED}" if shadow else ""
        why = f"it breaks with stable ({changes.breaking}){first}"
        mirrored, asked = bool(shadow) and heeded, bool(shadow) and not heeded
        return Choice(strategy=Strategy.BLUE_GREEN, shadow_first=mirrored, approval=asked, why=why)
    if shadow and not heeded:
        return Choice(strategy=Strategy.CANARY, approval=True, why=f"{shadow}, so {_UNHEEDED}")
    if shadow:
        return Choice(
            strategy=Strategy.SHADOW, shadow_first=True, why=f"{shadow}: nobody meets them before a shadow did"
        )
    behaviour = [component.value for component in _BEHAVIOUR if component in changes.components]
    if behaviour:
        return Choice(strategy=Strategy.CANARY, why=f"what it says and does changed ({', '.join(behaviour)})")
    beneath = [
        *(["code"] if Component.CODE in changes.components else []),
        *(["infrastructure"] if changes.infrastructure else []),
    ]
    if beneath:
        why = f"only {' and '.join(beneath)} changed; prompts, models, tools and policies are stable's"
        return Choice(strategy=Strategy.ROLLING, why=why)
    return Choice(
        strategy=Strategy.CANARY, why="nothing that a release is made of changed, so what differs is not known"
    )


RISK_AND_COST: Mapping[Strategy, tuple[str, str]] = {
    Strategy.CANARY: (
        "a bad release meets the first step's share until its gates see it",
        "twice the instances of stable until it is promoted",
    ),
    Strategy.BLUE_GREEN: (
        "without a gray share nothing is compared before everybody moves; a failure afterwards switches back at once",
        "twice the instances until the soak is over, then a warm remainder",
    ),
    Strategy.ROLLING: (
        "stable gives up instances on the way: going back is at once, at full strength once they have started again",
        "one instance more than stable has",
    ),
    Strategy.SHADOW: (
        "nobody meets it before the mirrored step passed; afterwards as a canary",
        "the shadow's instances and a second model call for each mirrored request, then as a canary",
    ),
    Strategy.DIRECT: ("everybody meets it at once", "its own instances"),
}
"""What each strategy risks and costs, in a sentence each."""
