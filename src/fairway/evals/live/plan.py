"""What ``evals.online`` asks for, checked: what could never give a score is refused with its line."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.errors import ProjectFileError
from fairway.evals.assertions.kind import How
from fairway.evals.assertions.registry import KINDS
from fairway.evals.assertions.section import parse_assertions
from fairway.evals.live.config import OnlineSection
from fairway.evals.values import Assertion
from fairway.validate import raise_all
from fairway.yaml_file import KeyPath, YamlDocument

PATH: KeyPath = ("evals", "online", "assert")
_ASKED = (How.SCRIPTED, How.CALLED)


def online_assertions(document: YamlDocument, section: OnlineSection, *, judge: bool) -> tuple[Assertion, ...]:
    """What must hold of a sampled reply.

    Args:
        document: ``fairway.yaml``.
        section: ``evals.online``.
        judge: Whether the project has a judge that is switched on.

    Raises:
        ProjectFileError: With file, line and key of each mistake.
    """
    assertions = parse_assertions(document, PATH, section.asserted)
    raise_all(_errors(document, assertions, judge=judge))
    return assertions


def _errors(document: YamlDocument, assertions: tuple[Assertion, ...], *, judge: bool) -> Iterator[ProjectFileError]:
    for index, assertion in enumerate(assertions):
        kinds = [KINDS[one.type].how for one in _all(assertion)]
        path = (*PATH, index)
        if any(how in _ASKED for how in kinds):
            message = f"{assertion.name} runs a script or calls a service, which is not done to live traffic"
            yield document.error(path, message, hint="use an assertion on the reply alone, or a rubric")
        elif How.JUDGED in kinds and not judge:
            yield document.error(path, f"{assertion.name} needs a judge", hint="set evals.judge")
        elif How.JUDGED in kinds and set(kinds) != {How.JUDGED}:
            message = f"{assertion.name} asks its judge only where nothing else decides, so wrong replies had no score"
            yield document.error(path, message, hint="write its members one by one")


def _all(assertion: Assertion) -> Iterator[Assertion]:
    """An assertion, or the members of a set."""
    if not assertion.members:
        yield assertion
    for member in assertion.members:
        yield from _all(member)
