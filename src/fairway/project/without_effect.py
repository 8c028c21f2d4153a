"""What ``fairway.yaml`` says without effect, or of what does not exist: told with its line, never a guess. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fairway.errors import NotFoundError, ProjectFileError
from fairway.project.load import Project
from fairway.rollout.config import AUTO
from fairway.yaml_file import KeyPath, value_at

_SECTIONS = {"blue_green": "blue-green", "rolling": "rolling", "shadow": "shadow"}
"""The strategy each section of ``rollout`` is for; ``auto`` may choose any."""
_STEPS_PICK_MARGINS = ("blue-green", "rolling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A setting that changes nothing, or less than it seems to.

    Attributes:
        place: ``fairway.yaml:12:3``.
        key: Dotted.
        message: What it does not do.
        hint: What to change.
    """

    place: str
    key: str
    message: str
    hint: str

    def __str__(self) -> str:
        """In one line."""
        return f"{self.place}: {self.key}: {self.message}"


def without_effect(project: Project) -> tuple[Idle, ...]:
    """Settings of the rollout that nothing heeds."""
    found = (*_other_strategies(project), *_no_time(project), *_no_approval(project))
    return tuple(_idle(project, path, message, hint) for path, message, hint in found)


_Found = Iterator[tuple[KeyPath, str, str]]


def _other_strategies(project: Project) -> _Found:
    policy, chosen = project.rollout, project.rollout.strategy
    if chosen == AUTO:
        return
    for section, strategy in _SECTIONS.items():
        if strategy != chosen and project.document.has(("rollout", section)):
            message = f"without effect: the strategy is {chosen}"
            yield ("rollout", section), message, f"take it out, or set rollout.strategy: {strategy}"
    if policy.breaking:
        yield (
            ("rollout", "breaking"),
            f"without effect: the strategy is {chosen}",
            "only rollout.strategy: auto heeds it",
        )
    if chosen in _STEPS_PICK_MARGINS and project.document.has(("rollout", "steps")):
        message = f"no steps are taken: {chosen} has its own; these only pick which margins of the gates hold"
        yield ("rollout", "steps"), message, "take them out, or set rollout.strategy: canary"
    own_dwell = chosen == "rolling" or (chosen == "blue-green" and policy.blue_green.gray is None)
    if own_dwell and project.document.has(("rollout", "dwell")):
        instead = "rollout.rolling.dwell" if chosen == "rolling" else "rollout.blue_green.gray, which it is for"
        yield ("rollout", "dwell"), f"without effect: the strategy is {chosen}", f"set {instead}"


def _no_time(project: Project) -> _Found:
    """A dwell of nothing: gates that happen to pass at once end the step."""
    policy, path = project.rollout, ("rollout", "dwell")
    message = "asks for no time at all: a step ends as soon as its gates pass, on whatever they have seen by then"
    hint = "the first minutes of a release are not like the others; for example 10m"
    if policy.dwell == 0 and project.document.has(path):
        yield path, message, hint
    for number, step in enumerate(policy.steps):
        if step.dwell == 0:
            yield ("rollout", "steps", number, "dwell"), message, hint
    for section, dwell in (("rolling", policy.rolling.dwell), ("shadow", policy.shadow.dwell)):
        if dwell == 0 and policy.strategy in (section, AUTO):
            yield ("rollout", section, "dwell"), message, hint


def _no_approval(project: Project) -> _Found:
    rule = value_at(project.document, ("rollout", "approval"))
    if not isinstance(rule, dict) or rule.get("required", True):
        return
    for key in rule:
        if key != "required":
            yield (
                ("rollout", "approval", key),
                "without effect: required is false",
                "take it out, or set required: true",
            )


def missing_prompts(project: Project, environment: str) -> Iterator[ProjectFileError]:
    """Versions of prompts that an environment names and nobody has written: a release could not be served there."""
    found = project.environment(environment)
    for name in project.prompts.names():
        try:
            project.prompts.resolve(name, found.channel_of(name), found.kind)
        except NotFoundError as error:
            if error.code == "prompt_not_found":
                path = ("environments", environment, "prompts", name)
                yield project.document.error(path, error.message, hint=error.hint, code="prompt_not_found")


def _idle(project: Project, path: KeyPath, message: str, hint: str) -> Idle:
    told = project.document.error(path, message, of_key=True)
    place = ":".join(str(part) for part in (told.file, told.line, told.column) if part is not None)
    return Idle(place=place, key=told.key or "", message=message, hint=hint)
