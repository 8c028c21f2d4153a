"""Labelled items a judge is tried on: what was asked, what was answered, and whether people call it good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr

from fairway.canonical import value_digest
from fairway.errors import ProjectFileError
from fairway.evals.judges.kinds import JUDGE_KINDS, Form, judge_problem
from fairway.evals.judges.question import scale_of
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.judges.threshold import threshold_of
from fairway.evals.suites.document import read_document
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, Case, Reply
from fairway.section import Section
from fairway.units import Digest
from fairway.validate import suggest, validate
from fairway.yaml_file import MAXIMUM_BYTES, KeyPath, Position, YamlDocument

_SET_KEYS = ("rubric", "assert", "items")
_OWN_KEYS = ("type", "value", "threshold")


class Label(StrEnum):
    """What people say of a reply."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationItem:
    """One labelled reply.

    Attributes:
        assertion: What the judge is to say of it, as a suite would write it; never negated.
        good: Whether it should hold.
    """

    id: str
    observed: Observed
    assertion: Assertion
    good: bool


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Text = Annotated[StrictStr, AfterValidator(_filled)]
Texts = Annotated[list[Text], BeforeValidator(_one_or_more), Field(min_length=1, max_length=100)]
Replies = Annotated[list[StrictStr], BeforeValidator(_one_or_more), Field(min_length=1, max_length=100)]


class ItemSection(Section):
    """An item as its file writes it.

    Attributes:
        input, reply: A text, or one a turn.
        context: Passages the agent answered from.
        rubric: Short for an ``assert`` of ``llm-rubric``.
        label, grade: One of them; a grade is good when its score reaches the assertion's threshold.
    """

    id: Text
    input: Texts
    reply: Replies
    context: Texts | None = None
    rubric: Text | None = None
    assertion: Annotated[dict[StrictStr, Any] | None, Field(alias="assert")] = None
    label: Label | None = None
    grade: Text | None = None


def load_calibration(content: bytes, *, file: str, settings: JudgeSettings) -> tuple[CalibrationItem, ...]:
    """Read a calibration set.

    Args:
        content: A list of items, or a mapping with ``items`` and a ``rubric`` or ``assert`` for those without one. In a
            ``.jsonl`` file one item a line.
        file: Path relative to the project; its ending says JSON, JSONL or YAML.
        settings: Of the judge: what a grade is worth.

    Raises:
        ProjectFileError: With line, column and key of the first thing wrong.
    """
    items: list[CalibrationItem] = []
    seen: set[str] = set()
    for document, path, shared in _places(content, file):
        item = _item(document, path, shared, settings)
        if item.id in seen:
            raise document.error((*path, "id"), f"item {item.id!r} is there twice")
        seen.add(item.id)
        items.append(item)
    return tuple(items)


def calibration_digest(items: tuple[CalibrationItem, ...]) -> Digest:
    """Digest over the items in any order; part of the instrument."""
    return value_digest(sorted((_wire(item) for item in items), key=lambda wire: str(wire["id"])))


def _wire(item: CalibrationItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "turns": list(item.observed.case.turns),
        "replies": [reply.text for reply in item.observed.replies],
        "context": list(item.observed.replies[-1].context or ()),
        "type": item.assertion.type,
        "value": item.assertion.value,
        "threshold": item.assertion.threshold,
        "options": dict(item.assertion.options),
        "good": item.good,
    }


def _places(content: bytes, file: str) -> list[tuple[YamlDocument, KeyPath, Mapping[str, Any]]]:
    """Each item's document and path, and what holds for items that do not say it."""
    jsonl = file.lower().endswith(".jsonl")
    document = _lines(content, file) if jsonl else read_document(content, file=file)
    value = document.value
    if isinstance(value, list):
        return [(document, (index,), {}) for index in range(len(value))]
    if not isinstance(value, dict) or not isinstance(value.get("items"), list):
        raise document.error((), "expected a list of items, or 'items:' with one")
    for key in value:
        if key not in _SET_KEYS:
            hint = suggest(key, _SET_KEYS, what="keys")
            raise document.error((key,), "unknown key", of_key=True, hint=hint)
    if "rubric" in value and "assert" in value:
        raise document.error(("rubric",), "has one of 'rubric' and 'assert'")
    return [(document, ("items", index), value) for index in range(len(value["items"]))]


def _lines(content: bytes, file: str) -> YamlDocument:
    """The lines of a JSONL file as one document, a list."""
    if len(content) > MAXIMUM_BYTES:
        raise ProjectFileError(f"is larger than {MAXIMUM_BYTES // 1024 // 1024} MiB", file=file)
    items: list[Any] = []
    values: dict[KeyPath, Position] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            read = read_document(line, file="line.json")
        except ProjectFileError as error:
            raise ProjectFileError(error.problem, file=file, line=number, column=error.column) from error
        values[(len(items),)] = Position(line=number, column=1)
        values |= {(len(items), *path): replace(place, line=number) for path, place in read.values.items()}
        items.append(read.value)
    return YamlDocument(file=file, value=items, values=values, keys={})


def _item(document: YamlDocument, path: KeyPath, shared: Mapping[str, Any], settings: JudgeSettings) -> CalibrationItem:
    section = validate(ItemSection, document, path)
    if len(section.input) != len(section.reply):
        raise document.error(
            (*path, "reply"), f"needs one reply a turn: {len(section.input)}, not {len(section.reply)}"
        )
    assertion = _assertion(section, document, path, shared)
    last = len(section.reply) - 1
    context = tuple(section.context) if section.context is not None else None
    return CalibrationItem(
        id=section.id,
        observed=Observed(
            case=Case(id=section.id, name=section.id, turns=tuple(section.input)),
            replies=tuple(
                Reply(text=text, context=context if number == last else None)
                for number, text in enumerate(section.reply)
            ),
        ),
        assertion=assertion,
        good=_is_good(section, assertion, document, path, settings),
    )


def _assertion(section: ItemSection, document: YamlDocument, path: KeyPath, shared: Mapping[str, Any]) -> Assertion:
    if section.rubric is not None and section.assertion is not None:
        raise document.error((*path, "rubric"), "has one of 'rubric' and 'assert'")
    if section.assertion is not None:
        return _written(section.assertion, document, (*path, "assert"))
    rubric: object = section.rubric
    if rubric is None and "assert" in shared:
        return _written(shared["assert"], document, ("assert",))
    if rubric is None:
        rubric = shared.get("rubric")
    if rubric is None:
        raise document.error(path, "needs a 'rubric' or an 'assert'")
    if not isinstance(rubric, str) or not rubric.strip():
        raise document.error(("rubric",), "expected a text")
    return Assertion(type="llm-rubric", value=rubric)


def _written(written: object, document: YamlDocument, at: KeyPath) -> Assertion:
    if not isinstance(written, dict):
        raise document.error(at, "expected an assertion: a mapping with its type and value")
    name = written.get("type")
    if not isinstance(name, str) or name not in JUDGE_KINDS:
        hint = suggest(str(name), JUDGE_KINDS, what="types")
        raise document.error((*at, "type"), "is no type a judge measures", hint=hint)
    threshold = written.get("threshold")
    if threshold is not None and not (type(threshold) in (int, float) and 0 < threshold <= 1):
        raise document.error((*at, "threshold"), "expected a number above 0 and at most 1")
    options = {key: value for key, value in written.items() if key not in _OWN_KEYS}
    assertion = Assertion(type=name, value=written.get("value"), threshold=threshold, options=options)
    problem = judge_problem(assertion)
    if problem is not None:
        raise document.error((*at, problem[0]), problem[1])
    return assertion


def _is_good(
    section: ItemSection, assertion: Assertion, document: YamlDocument, path: KeyPath, settings: JudgeSettings
) -> bool:
    if (section.label is None) == (section.grade is None):
        raise document.error(path, "needs one of 'label' (good or bad) and 'grade'")
    if section.grade is None:
        return section.label is Label.GOOD
    kind = JUDGE_KINDS[assertion.type]
    if kind.form is not Form.GRADE:
        raise document.error((*path, "grade"), f"{kind.name} has no grades; write label: good or bad")
    scale = scale_of(kind, assertion, settings)
    if section.grade not in scale:
        hint = suggest(section.grade, scale, what="grades")
        raise document.error((*path, "grade"), f"{json.dumps(section.grade)} is no grade of the scale", hint=hint)
    return scale[section.grade] >= threshold_of(assertion, settings)
