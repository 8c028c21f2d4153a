"""What is wrong with suites that load: cases that say nothing, contradict themselves, or cannot decide a gate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from fairway.bundle.lint import LintFinding, Severity, count_tokens, ordered
from fairway.evals.assertions.case_check import normalise
from fairway.evals.assertions.kind import How
from fairway.evals.assertions.registry import KINDS
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.suites.fingerprint import case_json
from fairway.evals.suites.tool_names import tool_names
from fairway.evals.values import Assertion, Case, ExtraTools, Suite, TokenCount
from fairway.mistakes import suggest
from fairway.stats.power import clean_units

_PROBES = ("", "x", "0 1 2", "Lorem ipsum, dolor!", "\n\n")
_SHOWN = 60
_Rule = Callable[[Suite, Case, "Surroundings"], Iterator[LintFinding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What lint knows besides the suites.

    Attributes:
        tools: Names of ``tools.yaml``; ``None``: there is none, so names are not compared.
        prompt_versions: Every version that an environment serves; ``None``: not known.
        prompt_variables: Variables that the project's prompts read, which a case may give without reading them itself.
        judge, embeddings: Whether there is a judge, and an embedding endpoint for `similar`.
        margin, alpha: Of the gate, the second at its first look.
    """

    tools: Collection[str] | None = None
    prompt_versions: Collection[str] | None = None
    prompt_variables: Collection[str] = ()
    judge: bool = False
    embeddings: bool = True
    margin: float = 0.05
    alpha: float = EvalPolicy().within_alpha(0)


def lint_suites(suites: Sequence[Suite], surroundings: Surroundings) -> tuple[LintFinding, ...]:
    """Everything that is wrong with cases that could be read.

    An ``error`` is a case that can only pass, only fail, or hold the gate for ever; a ``warning`` says less than it
    seems to.

    Returns:
        Findings by file and line; empty when all is well.
    """
    found: list[LintFinding] = []
    for suite in suites:
        for case in suite.cases:
            for rule in _RULES:
                found.extend(rule(suite, case, surroundings))
        found.extend(_families(suite))
    found.extend(_twins(suites))
    found.extend(_too_few(suites, surroundings))
    return ordered(found)


def finding(
    suite: Suite, case: Case | None, rule: str, message: str, *, error: bool = False, hint: str | None = None
) -> LintFinding:
    """A finding where the case stands."""
    return LintFinding(
        severity=Severity.ERROR if error else Severity.WARNING,
        rule=f"suite/{rule}",
        message=f"case {case.id!r} {message}" if case else message,
        file=suite.file,
        line=case.line if case else None,
        hint=hint,
    )


# -- what a case expects of itself -------------------------------------------------------------------------------------


def _says_nothing(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    if case.has_checks or case.rubric_required:  # a rubric that is asked for and not graded is unknown, and no pass
        return
    if not around.judge:
        message = "checks nothing without a judge, so it would always pass"
        hint = "add keywords or an assert list, or configure evals.judge"
        yield finding(suite, case, "no-checks", message, error=True, hint=hint)


def _always_holds(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    for assertion in _leaves(case.assertions):
        if _cannot_fail(assertion):
            message = f"{_shown(assertion)} holds for every reply"
            yield finding(suite, case, "always-holds", message, error=True, hint="say what a wrong reply looks like")
        elif _cannot_hold(assertion):
            message = f"{_shown(assertion)} holds for no reply"
            yield finding(suite, case, "never-holds", message, error=True)
    if case.assertions and all(one.weight == 0 for one in case.assertions):
        yield finding(suite, case, "weightless", "has only assertions of weight 0, which decide nothing")


def _contradicts(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    wanted = {word: normalise(word) for word in (*case.expected_keywords, *_texts(case, "contains", negated=False))}
    refused = {word: normalise(word) for word in (*case.forbidden_keywords, *_texts(case, "contains", negated=True))}
    for word, plain in wanted.items():
        for other, forbidden in refused.items():
            if forbidden in plain:
                message = f"expects {word!r} and forbids {other!r}, which is part of it"
                yield finding(suite, case, "contradiction", message, error=True)
    if len({normalise(text) for text in _texts(case, "equals", negated=False)}) > 1:
        yield finding(suite, case, "contradiction", "must equal different texts at once", error=True)
    expected = {tool.name for tool in case.expected_tools or ()}
    for name in sorted(expected & set(case.forbidden_tools)):
        yield finding(suite, case, "contradiction", f"expects and forbids the tool {name!r}", error=True)
    if case.expected_tools == () and case.extra_tools is ExtraTools.FORBID:
        named = tool_names(case).expected - expected
        if named:
            message = f"allows no tool call, and expects {', '.join(sorted(named))}"
            yield finding(suite, case, "contradiction", message, error=True)


def _echoes(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    """Nothing is asked of the reply but words the user says: one that repeats the question has them all."""
    said = normalise(case.turns[-1])
    asked = ("contains", "contains-all", "icontains", "icontains-all")
    words = [*case.expected_keywords, *(text for kind in asked[::2] for text in _texts(case, kind, negated=False))]
    others = [one for one in case.checks if not one.negated and one.weight > 0 and one.type not in asked]
    if words and not others and not case.expected_tools and all(normalise(word) in said for word in words):
        message = f"expects only what the user says ({_clip(words[0])}): a reply that repeats the question passes"
        yield finding(suite, case, "keyword-in-input", message, hint="expect something that only the answer has")


def _unreachable(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    if case.max_tokens is not None and case.count_tokens is TokenCount.TOTAL:
        # about half of the estimate, so that only what certainly cannot fit is told
        sent = count_tokens("\n".join(case.turns)) // 2
        if sent >= case.max_tokens:
            message = f"allows {case.max_tokens} tokens in all, and its own input has about {sent * 2}"
            hint = "raise max_tokens, or count_tokens: output"
            yield finding(suite, case, "unreachable", message, error=True, hint=hint)
    if case.critical and case.at_least < case.repeat and case.at_least * 2 < case.repeat:
        message = f"is critical, and passes with {case.at_least} of {case.repeat} runs"
        yield finding(suite, case, "weak-rule", message, hint="a critical case is usually needed each time")


# -- what a case needs of the project ----------------------------------------------------------------------------------


def _tools(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    if around.tools is None:
        return
    names = tool_names(case)
    for name in sorted((names.expected | names.forbidden) - set(around.tools)):
        hint = suggest(name, around.tools, what="tools")
        verb = "expects" if name in names.expected else "forbids"
        message = f"{verb} the tool {name!r}, which is not in tools.yaml"
        yield finding(suite, case, "unknown-tool", message, error=True, hint=hint)


def _prompt_version(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    versions = around.prompt_versions
    if versions is None or case.prompt_version is None:
        return
    if case.prompt_version.removeprefix("v") not in {version.removeprefix("v") for version in versions}:
        message = f"was written for prompt version {case.prompt_version}, which no environment serves"
        yield finding(suite, case, "prompt-version", message, hint="check what it expects, and say for which version")


_NO_JUDGE = "configure evals.judge; outside a project fairway eval run takes --judge"


def _judged(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    ways = [_how(one) for one in _leaves(case.checks)]
    needs_judge = [one for one in _leaves(case.assertions) if _how(one) is How.JUDGED]
    if not around.judge and (needs_judge or (case.rubric is not None and case.rubric_required)):
        what = needs_judge[0].name if needs_judge else "rubric"
        message = f"needs a judge for {what}, and there is none: it would stay unknown and hold the gate"
        yield finding(suite, case, "no-judge", message, error=True, hint=_NO_JUDGE)
    certain = _has_plain_checks(case) or How.CHECKED in ways
    if case.critical and not certain:
        message = "is critical, and nothing but a judge or a script decides it"
        hint = "add a check that needs no judge: a forbidden tool, a keyword, the state"
        yield finding(suite, case, "critical-by-judge", message, hint=hint)
    elif around.judge and not certain and How.JUDGED in ways and How.SCRIPTED not in ways and How.CALLED not in ways:
        yield finding(suite, case, "only-judged", "is decided by a judge alone", hint="add a check that needs no judge")


def _embedded(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    if not around.embeddings and any(one.type.startswith("similar") for one in _leaves(case.assertions)):
        message = "needs an embedding endpoint for similar, and there is none: it would stay unknown"
        yield finding(suite, case, "no-embeddings", message, error=True, hint="configure evals.embeddings")


def _unwritten(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    for one in _leaves(case.assertions):
        if one.type == "todo":
            message = f"is still to be written: {_clip(one.value)}"
            hint = "put an assertion in its place; until then the case is unknown and holds the gate"
            yield finding(suite, case, "todo", message, error=True, hint=hint)


def _literal(suite: Suite, case: Case, around: Surroundings) -> Iterator[LintFinding]:
    texts = (*case.turns, *case.expected_keywords, *case.forbidden_keywords, case.rubric or "")
    if not case.variables and any(re.search(r"\{\{\s*[A-Za-z_]", text) for text in texts):
        message = "has {{ … }} and no variables, so it is sent as it stands"
        yield finding(suite, case, "literal-template", message, hint="add variables, or write the text without braces")


# -- what cases are to each other --------------------------------------------------------------------------------------


def _families(suite: Suite) -> Iterator[LintFinding]:
    sizes = Counter(case.family for case in suite.cases if case.family is not None)
    for case in suite.cases:
        if case.family is not None and sizes[case.family] == 1:
            message = f"is alone in its family {case.family!r}"
            hint = suggest(case.family, [name for name in sizes if name != case.family], what="families")
            yield finding(suite, case, "family-of-one", message, hint=hint)


def _twins(suites: Sequence[Suite]) -> Iterator[LintFinding]:
    """Cases that are the same but for their id, and cases that ask the same and cannot both pass."""
    same: dict[str, tuple[Suite, Case]] = {}
    asked: dict[str, list[tuple[Suite, Case]]] = {}
    for suite in suites:
        for case in suite.cases:
            content = case_json(case)
            for key in ("id", "family"):
                content.pop(key, None)
            first_suite, first = same.setdefault(repr(content), (suite, case))
            if first is not case:
                message = f"is the same as {first_suite.name}/{first.id}"
                yield finding(suite, case, "duplicate", message, hint="use repeat: to play one case several times")
            asked.setdefault(repr((case.turns, sorted(map(repr, case.variables.items())))), []).append((suite, case))
    for group in asked.values():
        yield from _quarrels(group)


def _quarrels(group: Sequence[tuple[Suite, Case]]) -> Iterator[LintFinding]:
    for index, (suite, case) in enumerate(group):
        for other_suite, other in group[:index]:
            if what := _disagreement(case, other) or _disagreement(other, case):
                message = f"asks the same as {other_suite.name}/{other.id}, and they cannot both pass: {what}"
                yield finding(suite, case, "contradiction", message, error=True)


def _disagreement(one: Case, other: Case) -> str | None:
    for word in one.expected_keywords:
        for refused in other.forbidden_keywords:
            if normalise(refused) in normalise(word):
                return f"one expects {word!r}, the other forbids {refused!r}"
    for tool in one.expected_tools or ():
        if tool.name in other.forbidden_tools:
            return f"one expects the tool {tool.name!r}, the other forbids it"
        if other.expected_tools == () and other.extra_tools is ExtraTools.FORBID:
            return f"one expects the tool {tool.name!r}, the other no tool at all"
    return None


def _too_few(suites: Sequence[Suite], around: Surroundings) -> Iterator[LintFinding]:
    clusters = {(suite.name, case.family or f"/{case.id}") for suite in suites for case in suite.cases}
    needed = fewest_cases(around.margin, around.alpha)
    if clusters and len(clusters) < needed:
        points = f"{around.margin * 100:g}"
        message = (
            f"{len(clusters)} independent cases cannot show that quality fell by less than {points} points, "
            f"even if all pass: {needed} are the fewest"
        )
        hint = "add cases (those of one family count once), or widen the gate's margin"
        yield finding(suites[0], None, "too-few", message, hint=hint)


def fewest_cases(margin: float, alpha: float) -> int:
    """Fewest independent cases, all of which pass, that exclude a loss of ``margin``: 63 at 5 points, 160 at 2."""
    return clean_units(margin, alpha)


_RULES: tuple[_Rule, ...] = (
    _says_nothing, _always_holds, _contradicts, _echoes, _unreachable, _tools, _prompt_version, _judged, _embedded,
    _unwritten, _literal,
)  # fmt: skip


# -- assertions --------------------------------------------------------------------------------------------------------


def _leaves(assertions: Sequence[Assertion]) -> Iterator[Assertion]:
    for assertion in assertions:
        if assertion.members:
            yield from _leaves(assertion.members)
        else:
            yield assertion


def _how(assertion: Assertion) -> How:
    kind = KINDS.get(assertion.type)
    return kind.how if kind else How.CHECKED


def _has_plain_checks(case: Case) -> bool:
    return bool(
        case.expected_keywords
        or case.forbidden_keywords
        or case.forbidden_tools
        or case.expected_tools is not None
        or case.max_tokens is not None
    )


def _texts(case: Case, kind: str, *, negated: bool) -> Iterator[str]:
    """Texts of the case's own assertions of a kind and its ``-all`` form, not of sets, which may hold without them."""
    for one in case.assertions:
        if one.negated is negated and one.weight > 0 and case.threshold is None:
            if one.type == kind and isinstance(one.value, str):
                yield one.value
            elif one.type == f"{kind}-all" and not negated:
                yield from (text for text in one.value if isinstance(text, str))


def _cannot_fail(assertion: Assertion) -> bool:
    return _finds_all(assertion) if not assertion.negated else False


def _cannot_hold(assertion: Assertion) -> bool:
    return _finds_all(assertion) if assertion.negated else False


def _finds_all(assertion: Assertion) -> bool:
    """Whether the positive form is met by every reply, as far as a few very different ones can tell."""
    value = assertion.value
    if assertion.type == "regex" and isinstance(value, str):
        return all(re.search(value, probe) for probe in _PROBES)
    if assertion.type in ("contains", "icontains", "starts-with") and isinstance(value, str):
        return value == ""
    if assertion.type in ("contains-any", "icontains-any") and isinstance(value, list | tuple):
        return "" in value
    if assertion.type == "word-count" and isinstance(value, dict):
        return value.get("min", 0) <= 0 and value.get("max") is None
    return False


def _shown(assertion: Assertion) -> str:
    return f"{assertion.name} {_clip(assertion.value)}"


def _clip(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
