"""The checks of a case: pure, from replies to violations. What cannot be known is *unknown*, never a pass."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from fairway.evals.assertions.tool_match import describe_expected, match_tools, why_missing
from fairway.evals.values import Assertion, Case, ExtraTools, Reply, TokenCount, ToolCall, Violation

_CALLING = ("tool_calls", "tool_use", "function_call")
"""Why a model stops that wants its calls executed, in the vendors' words."""
_OF_CALLS = ("tool-call", "trajectory:", "is-valid-openai-tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFinding:
    """What the checks of one case say.

    Attributes:
        unknown: What could not be checked and why; not empty means the case cannot pass.
        checks: How many things were checked, ``met`` of which hold.
        token_count: As the case counts tokens; ``None``: not reported.
        tools_expected, tools_met: Expected tool calls, when they could be checked, and how many were made.
    """

    violations: tuple[Violation, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    checks: int
    met: int
    token_count: int | None
    tools_expected: int = 0
    tools_met: int = 0

    @property
    def score(self) -> float:
        """Share of checks that hold; 1.0 when the case has none."""
        return self.met / self.checks if self.checks else 1.0


def normalise(text: str) -> str:
    """How keywords and replies are compared: Unicode NFKC, case folded, each run of white space one space.

    A keyword is then looked for as a substring: ``refund`` is in ``Refunds``, and ``ass`` is in ``pass``.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def check_case(case: Case, replies: Sequence[Reply]) -> CheckFinding:
    """Check everything a case declares, except its rubric.

    Args:
        case: What must hold.
        replies: One for each turn, in order; expected keywords are looked for in the last one, forbidden ones in all.
    """
    violations: list[Violation] = []
    unknown: list[str] = []
    notes: list[str] = []
    parts = (
        _check_response(replies, calls_asked=bool(case.expected_tools) or _ask_for_calls(case.assertions)),
        _check_keywords(case, replies),
        _check_tools(case, replies, unknown, notes),
        _check_tokens(case, replies, unknown),
    )
    checks = 0
    for count, found in parts:
        checks += count
        violations += found
    wanted = sum(tool.count for tool in case.expected_tools or ()) if tools_called(replies) is not None else 0
    return CheckFinding(
        violations=tuple(violations),
        unknown=tuple(unknown),
        notes=tuple(notes),
        checks=checks,
        # several violations may come from one check (each extra call is one): the score never drops below 0
        met=max(0, checks - len(violations) - len(unknown)),
        token_count=count_tokens(replies, case.count_tokens),
        tools_expected=wanted,
        tools_met=wanted - sum(violation.check == "tool/missing" for violation in violations),
    )


def _check_response(replies: Sequence[Reply], *, calls_asked: bool) -> tuple[int, list[Violation]]:
    found = []
    for number, reply in enumerate(replies, start=1):
        where = f" to turn {number}" if len(replies) > 1 else ""
        if not reply.text.strip() and not (calls_asked and _ends_with_a_call(reply)):
            found.append(Violation(check="response/empty", message=f"the reply{where} is empty"))
        if reply.status == "failed":
            found.append(Violation(check="response/failed", message=f"the agent calls its reply{where} failed"))
    return 1, found


def _ends_with_a_call(reply: Reply) -> bool:
    """Whether a bare model stopped to have its calls executed, which nobody does here: they are its answer."""
    return bool(reply.tools) and reply.finish_reason in _CALLING


def _ask_for_calls(assertions: Sequence[Assertion]) -> bool:
    return any(
        (one.type.startswith(_OF_CALLS) and not one.negated) or _ask_for_calls(one.members) for one in assertions
    )


def _check_keywords(case: Case, replies: Sequence[Reply]) -> tuple[int, list[Violation]]:
    last = normalise(replies[-1].text) if replies else ""
    everything = [normalise(reply.text) for reply in replies]
    found = [
        Violation(check="keyword/missing", subject=word, message=f"expected keyword {word!r} is not in the reply")
        for word in case.expected_keywords
        if normalise(word) not in last
    ]
    found += [
        Violation(check="keyword/forbidden", subject=word, message=f"forbidden keyword {word!r} is in the reply")
        for word in case.forbidden_keywords
        if any(normalise(word) in text for text in everything)
    ]
    return len(case.expected_keywords) + len(case.forbidden_keywords), found


def _check_tools(
    case: Case, replies: Sequence[Reply], unknown: list[str], notes: list[str]
) -> tuple[int, list[Violation]]:
    if case.expected_tools is None and not case.forbidden_tools:
        return 0, []
    expected = case.expected_tools or ()
    count = sum(tool.count for tool in expected) + len(case.forbidden_tools)
    calls = tools_called(replies)
    if calls is None:
        if count or case.extra_tools is ExtraTools.FORBID:
            unknown.append("the agent does not say which tools it called")
        return max(count, 1), []
    found = [
        Violation(check="tool/forbidden", subject=name, message=f"forbidden tool {name} was called")
        for name in case.forbidden_tools
        if any(call.name == name for call in calls)
    ]
    if case.expected_tools is None:
        broken = [call for call in calls if call.malformed is not None and call.name not in case.forbidden_tools]
        return count, [*found, *_extra_calls(case, broken, notes)]
    matching = match_tools(expected, calls)
    found += [
        Violation(
            check="tool/missing",
            subject=tool.name,
            message=f"expected tool call {describe_expected(tool)} is missing: {why_missing(tool, matching.extra)}",
        )
        for tool in matching.missing
    ]
    found += _extra_calls(case, matching.extra, notes)
    return max(count, 1), found


def _extra_calls(case: Case, extra: Sequence[ToolCall], notes: list[str]) -> list[Violation]:
    found = []
    for call in extra:
        if call.malformed is not None:
            message = f"malformed call of tool {call.name}: {call.malformed}"
            found.append(Violation(check="tool/malformed", subject=call.name, message=message))
        elif call.name in case.forbidden_tools:
            continue  # already said
        elif case.extra_tools is ExtraTools.FORBID:
            message = f"tool {call.name} was called once more than expected"
            found.append(Violation(check="tool/extra", subject=call.name, message=message))
        else:
            notes.append(f"extra call of tool {call.name}")
    return found


def _check_tokens(case: Case, replies: Sequence[Reply], unknown: list[str]) -> tuple[int, list[Violation]]:
    if case.max_tokens is None:
        return 0, []
    count = count_tokens(replies, case.count_tokens)
    if count is None:
        unknown.append(f"the agent does not report its tokens, and the case allows at most {case.max_tokens}")
        return 1, []
    if count > case.max_tokens:
        message = f"{count} tokens used, at most {case.max_tokens} allowed"
        return 1, [Violation(check="tokens/over", message=message)]
    return 1, []


def tools_called(replies: Sequence[Reply]) -> tuple[ToolCall, ...] | None:
    """All calls over all turns; ``None`` when any reply does not say."""
    calls: list[ToolCall] = []
    for reply in replies:
        if reply.tools is None:
            return None
        calls += reply.tools
    return tuple(calls)


def count_tokens(replies: Sequence[Reply], which: TokenCount) -> int | None:
    """Tokens over all turns; ``None`` when any part of it is not reported."""
    total = 0
    for reply in replies:
        parts = (reply.tokens_out,) if which is TokenCount.OUTPUT else (reply.tokens_in, reply.tokens_out)
        for part in parts:
            if part is None:
                return None
            total += part
    return total if replies else None
