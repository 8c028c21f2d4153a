"""Why a run failed, for the person who changed a prompt: the case, the violation, and the lines of the change."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.evals.assertions.case_check import normalise
from fairway.evals.values import CaseResult

_MOST_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChange:
    """One line that a prompt lost (``-``) or won (``+``) since the previous release."""

    prompt: str
    sign: str
    line: str

    def __str__(self) -> str:
        return f"{self.prompt}: {self.sign} {self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What to tell about one case.

    Attributes:
        rule_lost: The case's rule stood in a prompt of the previous release and stands in none now.
        changes: Lines of the prompt change, those that speak of the violation first.
    """

    result: CaseResult
    changes: tuple[PromptChange, ...] = ()
    rule_lost: bool = False

    def cause(self) -> str | None:
        """What in the prompts most likely did it, in one line; ``None``: nothing changed there."""
        if self.rule_lost:
            return f"the prompts lost the rule it protects: {self.result.rule}"
        if not self.changes:
            return None
        first = self.changes[0]
        return f"the prompt {first.prompt} {'lost' if first.sign == '-' else 'won'}: {first.line}"

    def lines(self) -> tuple[str, ...]:
        """The explanation as a person reads it."""
        result = self.result
        kind = "critical case" if result.critical else "case"
        title = (
            f"{kind} {result.case_id} ({result.name})" if result.name != result.case_id else f"{kind} {result.case_id}"
        )
        text = [f"{title}: {result.undecided}" if result.undecided else title]
        text += [f"  {violation.message}" for violation in result.violations]
        return (*text, *(f"  {line}" for line in self.changed()))

    def changed(self) -> tuple[str, ...]:
        """What became of the prompts, without what was violated; empty: nothing is known."""
        text = []
        if self.result.rule is not None and self.rule_lost:
            text.append(f"the rule it protects is gone: {self.result.rule}")
        if self.changes:
            text.append("what changed in the prompts since the previous release:")
            text += [f"  {change}" for change in self.changes]
        return tuple(text)


def prompt_changes(previous: Mapping[str, str], current: Mapping[str, str]) -> tuple[PromptChange, ...]:
    """Lines that differ, by prompt name and in the prompt's order; white space at the ends of lines does not count."""
    changes: list[PromptChange] = []
    for name in sorted(previous.keys() | current.keys()):
        before = [line.strip() for line in previous.get(name, "").splitlines()]
        after = [line.strip() for line in current.get(name, "").splitlines()]
        for line in difflib.ndiff(before, after):
            if line[:2] in ("- ", "+ ") and line[2:].strip():
                # a bullet's own dash would look like a second sign
                changes.append(PromptChange(prompt=name, sign=line[0], line=line[2:].strip().lstrip("-*• ")))
    return tuple(changes)


def explain_case(
    result: CaseResult,
    changes: tuple[PromptChange, ...],
    *,
    previous: Mapping[str, str] | None = None,
    current: Mapping[str, str] | None = None,
) -> Explanation:
    """Tie a result to a prompt change.

    Args:
        result: A case that failed or could not be decided.
        changes: From `prompt_changes`; empty when there is no previous release.
        previous: The previous release's prompts by name, to see whether the case's rule is gone.
        current: The examined prompts by name.
    """
    words = [normalise(violation.subject) for violation in result.violations if violation.subject]
    rule = normalise(result.rule) if result.rule else ""

    def rank(change: PromptChange) -> tuple[int, int]:
        line = normalise(change.line)
        about = bool(rule and (rule in line or line in rule)) or any(word in line for word in words)
        return (0 if about else 1, 0 if change.sign == "-" else 1)

    lost = bool(rule) and _holds(previous, rule) and not _holds(current, rule)
    return Explanation(result=result, changes=tuple(sorted(changes, key=rank)[:_MOST_LINES]), rule_lost=lost)


def _holds(prompts: Mapping[str, str] | None, rule: str) -> bool:
    return any(rule in normalise(text) for text in (prompts or {}).values())
