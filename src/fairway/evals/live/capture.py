"""Live conversations become cases: redacted, each once, and without an expectation nobody wrote. Pure.

What the agent said is a note beside the case, not what it must say. A case that checks nothing is refused where suites
are loaded, so that a captured one counts only once a person, or an option of the command, says what must hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairway.evals.assertions.case_check import normalise
from fairway.evals.live.turns import LiveTurn
from fairway.evals.suites.files import SCHEME
from fairway.evals.suites.keys import MOST_TURNS
from fairway.evals.suites.yaml_text import to_yaml

_NOTE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """Which conversations, and what is asked of each.

    Attributes:
        limit: At most so many cases, the newest conversations.
        failed: Only conversations with a request that failed.
        role, version: Only conversations of such an arm or release; ``None``: of any.
        known: Ids of cases that were captured before: they are not captured again.
        expect_tools: Every case expects these tools to be called; empty: none is expected.
        rubric: Every case is graded by it; ``None``: none is.
    """

    limit: int = 50
    failed: bool = False
    role: str | None = None
    version: str | None = None
    known: frozenset[str] = frozenset()
    expect_tools: tuple[str, ...] = ()
    rubric: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A conversation as a case.

    Attributes:
        id: By what the user said: the same words are the same case.
        complete: Whether it says what must hold.
    """

    id: str
    turns: tuple[LiveTurn, ...]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What was found.

    Attributes:
        cases: The newest first.
        conversations: Looked at.
        repeated: Left out because another case says the same.
        unusable: Left out because they cannot be a case (a file's address as a message).
    """

    cases: tuple[Captured, ...]
    conversations: int
    repeated: int
    unusable: int


def capture(turns: Iterable[LiveTurn], options: CaptureOptions) -> Capture:
    """Conversations of redacted turns as cases."""
    conversations = [found for found in _conversations(turns) if _wanted(found, options)]
    cases: list[Captured] = []
    seen = set(options.known)
    repeated = unusable = 0
    for found in conversations:
        case_id = captured_id([turn.message for turn in found])
        if any(turn.message.startswith(SCHEME) for turn in found):
            unusable += 1
        elif case_id in seen:
            repeated += 1
        elif len(cases) < options.limit:
            seen.add(case_id)
            complete = bool(options.expect_tools or options.rubric)
            cases.append(Captured(id=case_id, turns=tuple(found), complete=complete))
    return Capture(cases=tuple(cases), conversations=len(conversations), repeated=repeated, unusable=unusable)


def captured_id(messages: Sequence[str]) -> str:
    """Of a case, by what the user says, but for spelling of white space and case."""
    said = json.dumps([normalise(message) for message in messages], ensure_ascii=True).encode()
    return f"captured-{hashlib.sha256(said).hexdigest()[:12]}"


def _conversations(turns: Iterable[LiveTurn]) -> list[list[LiveTurn]]:
    """Turns by conversation and release, in their order; the newest conversation first."""
    found: dict[tuple[str, str], dict[str, LiveTurn]] = {}
    for turn in turns:
        found.setdefault((turn.unit, turn.release), {})[turn.request] = turn
    ordered = [sorted(by_request.values(), key=lambda turn: turn.at) for by_request in found.values()]
    return sorted((one[:MOST_TURNS] for one in ordered), key=lambda one: one[-1].at, reverse=True)


def _wanted(turns: Sequence[LiveTurn], options: CaptureOptions) -> bool:
    last = turns[-1]
    if options.role is not None and last.role != options.role:
        return False
    if options.version is not None and last.version != options.version:
        return False
    return not options.failed or any(turn.verdict == "failed" for turn in turns)


def suite_text(found: Capture, options: CaptureOptions, *, name: str, at: datetime) -> str:
    """The cases as a suite in YAML, what was observed beside each as a comment."""
    lines = [
        f"# Captured from live traffic on {at:%Y-%m-%d %H:%M} UTC, redacted by shape: read it before you commit it.",
        f"suite: {json.dumps(name)}",
        "cases:",
    ]
    for case in found.cases:
        lines += ["", *_note(case), *_indented(to_yaml([_case(case, options)]))]
    return "\n".join(lines) + "\n"


def _case(case: Captured, options: CaptureOptions) -> dict[str, Any]:
    messages = [turn.message for turn in case.turns]
    value: dict[str, Any] = {"id": case.id, "tags": ["captured"]}
    value |= {"input": messages[0]} if len(messages) == 1 else {"conversation": messages}
    if options.expect_tools:
        value["expected_tools"] = list(options.expect_tools)
        value["extra_tools"] = "allow"
    if options.rubric:
        value["rubric"] = options.rubric
    return value


def _note(case: Captured) -> list[str]:
    """What was observed, in comments: nothing of it is expected."""
    lines = []
    for turn in case.turns:
        when = datetime.fromtimestamp(turn.at, UTC)
        told = f"{turn.verdict}, {turn.reason}" if turn.reason and turn.verdict != "ok" else turn.verdict
        lines.append(f"observed on {turn.version} ({turn.role}), {when:%Y-%m-%d %H:%M} UTC: {told}")
        reply = turn.reply
        if reply is None:
            lines.append("  no reply that can be read")
            continue
        lines += [f"  | {line}" for line in reply.text[:_NOTE_CHARACTERS].splitlines() or [""]]
        for call in reply.tools or ():
            lines.append(
                f"  called {call.name} {json.dumps(dict(call.arguments), ensure_ascii=True)[:_NOTE_CHARACTERS]}"
            )
    if not case.complete:
        lines.append("checks nothing yet, so it does not load: say below what must hold, or take it out")
    return [f"  # {_printable(line)}" for line in lines]


def _printable(line: str) -> str:
    """As a comment of YAML may hold it, on one line."""
    return "".join(char if char.isprintable() else " " for char in line)


def _indented(text: str) -> list[str]:
    return [f"  {line}" if line else line for line in text.rstrip("\n").split("\n")]
