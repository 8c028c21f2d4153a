"""``{{candidate.version}}`` and the like in queries and addresses: which there are, and what they become."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import quote

from fairway.sources.values import Question, SourceKind

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_OF_ARM = ("version", "release", "effective")
_ARMS = ("candidate", "stable", "arm")
KNOWN = (
    *_ARMS,
    *(f"{arm}.{name}" for arm in _ARMS for name in _OF_ARM),
    "arm.role",
    "route",
    "agent",
    "environment",
    "rollout",
)
"""Every placeholder. An arm alone is its version; ``arm`` is the one that is asked about: with ``compare`` both, in
turn, else the candidate. ``release`` and ``effective`` are digests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What an arm is called.

    Attributes:
        release, effective: Digests.
    """

    version: str
    release: str
    effective: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What placeholders stand for.

    Attributes:
        stable: The release the rollout started from; ``None`` for a first one.
        rollout: Id.
    """

    candidate: Arm
    stable: Arm | None
    agent: str
    environment: str
    rollout: str

    def of(self, *, role: str) -> Mapping[str, str]:
        """Values by placeholder, asked about the arm in ``role`` (``candidate`` or ``stable``)."""
        values = {
            "route": f"{self.agent}/{self.environment}",
            "agent": self.agent,
            "environment": self.environment,
            "rollout": self.rollout,
            "arm.role": role,
        }
        asked = self.stable if role == "stable" else self.candidate
        for name, arm in (("candidate", self.candidate), ("stable", self.stable), ("arm", asked)):
            if arm is not None:
                values |= {
                    name: arm.version,
                    f"{name}.version": arm.version,
                    f"{name}.release": arm.release,
                    f"{name}.effective": arm.effective,
                }
        return values


def placeholders_in(text: str) -> frozenset[str]:
    """The placeholders of a text.

    Raises:
        ValueError: Naming one that is not known, and the nearest that is.
    """
    found = frozenset(match.group(1) for match in _PLACEHOLDER.finditer(text))
    for name in sorted(found - set(KNOWN)):
        near = get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {{{{{near[0]}}}}}?" if near else f"known are {', '.join(KNOWN)}"
        raise ValueError(f"unknown placeholder {{{{{name}}}}}; {hint}")
    if "{{" in _PLACEHOLDER.sub("", text):
        raise ValueError("a placeholder is not closed: write {{candidate.version}}")
    return found


def needs_stable(question: Question) -> bool:
    """Whether a question names stable, so that a first release cannot be asked about by it."""
    texts = (question.url, question.query, *question.headers.values())
    return any(name.split(".")[0] == "stable" for text in texts for name in placeholders_in(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A question as it is sent: without placeholders."""

    url: str
    query: str
    headers: Mapping[str, str]


def fill(question: Question, names: Names, *, role: str) -> Filled | None:
    """A question about the arm in ``role``; ``None`` when it names stable and there is none.

    Values are escaped for where they stand: inside a quoted string of PromQL, inside an address.
    """
    values = names.of(role=role)
    text = question.stable_query if role == "stable" and question.stable_query else question.query
    try:
        return Filled(
            url=_filled(question.url, values, _in_address),
            query=_filled(text, values, _in_promql) if question.kind is SourceKind.PROMETHEUS else "",
            headers={name: _filled(value, values, str) for name, value in question.headers.items()},
        )
    except KeyError:
        return None


def _filled(text: str, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
    return _PLACEHOLDER.sub(lambda match: escape(values[match.group(1)]), text)


def _in_address(value: str) -> str:
    return quote(value, safe="")


def _in_promql(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'").replace("\n", "\\n")
