"""Sentences of prompts that say the opposite of each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SENTENCE = re.compile(r"[^.!?;\n]+")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s*")
_NOT = re.compile(
    r"^(?:you\s+)?(?:must\s+never|should\s+never|must\s+not|should\s+not|may\s+not|shall\s+not|can\s?not|mustn't|"
    r"shouldn't|can't|do\s+not|don't|never|under\s+no\s+circumstances)\s+(?:ever\s+)?",
    re.IGNORECASE,
)
_DO = re.compile(
    r"^(?:you\s+)?(?:must\s+always|should\s+always|must|should|shall|always|be\s+sure\s+to|make\s+sure\s+to)\s+",
    re.IGNORECASE,
)
_SHORTEST = 2
"""Words a rule must have besides its verb's sign, to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An instruction of a prompt.

    Attributes:
        core: What is to be done or not, in plain lower-case words.
        wanted: Whether it is to be done.
        line: 1-based, inside the template.
    """

    core: str
    wanted: bool
    text: str
    line: int


def rules_of(template: str) -> tuple[Rule, ...]:
    """The sentences of a template that say what always or never to do (English)."""
    return tuple(_rules(template))


def _rules(template: str) -> Iterator[Rule]:
    for number, line in enumerate(template.splitlines(), 1):
        for match in _SENTENCE.finditer(_BULLET.sub("", line)):
            text = match.group().strip()
            refused, wanted = _NOT.match(text), _DO.match(text)
            sign = refused or wanted
            if sign is None:
                continue
            core = " ".join(re.findall(r"[\w'{}-]+", text[sign.end() :].casefold()))
            if len(core.split()) >= _SHORTEST:
                yield Rule(core=core, wanted=refused is None, text=text, line=number)


def contradictions(rules: tuple[Rule, ...], others: tuple[Rule, ...]) -> tuple[tuple[Rule, Rule], ...]:
    """Pairs of rules that ask for the same and its opposite, each told once."""
    by_core = {(rule.core, rule.wanted): rule for rule in reversed(others)}
    found: dict[frozenset[tuple[str, int]], tuple[Rule, Rule]] = {}
    for rule in rules:
        other = by_core.get((rule.core, not rule.wanted))
        if other is not None:
            found.setdefault(frozenset({(rule.text, rule.line), (other.text, other.line)}), (rule, other))
    return tuple(found.values())
