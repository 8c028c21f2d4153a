"""The policy to simulate: from a project, from a file, or the default."""

from __future__ import annotations

from pathlib import Path

from fairway.errors import NotFoundError
from fairway.project.load import PROJECT_FILE, load_project
from fairway.rollout.config import RolloutSection
from fairway.validate import validate
from fairway.yaml_file import read_yaml

_SECTION = "rollout"


def policy_from(path: Path | None, *, project: Path | None = None) -> tuple[RolloutSection, str]:
    """The ``rollout`` section, and where it is from.

    Args:
        path: A ``fairway.yaml``, a folder with one, or a file with a ``rollout`` section or nothing but its keys.
        project: Folder of the project when no path is given; by default the nearest one above.

    Raises:
        NotFoundError: When there is no such file.
        ProjectFileError: With file, line, column and key of each mistake.
    """
    if path is None:
        return _of_project(project)
    if path.is_dir():
        path = path / PROJECT_FILE
    if not path.is_file():
        hint = f"give a {PROJECT_FILE} or a file with a {_SECTION} section"
        raise NotFoundError(f"there is no policy file {path}", code="policy_not_found", hint=hint)
    document = read_yaml(path, root=path.parent)
    if isinstance(document.value, dict) and document.value.keys() & {_SECTION, "agent"}:
        if not document.has((_SECTION,)):
            return RolloutSection(), f"{path.name} (the default: it has no {_SECTION} section)"
        return validate(RolloutSection, document, (_SECTION,)), path.name
    return validate(RolloutSection, document), path.name


def _of_project(project: Path | None) -> tuple[RolloutSection, str]:
    try:
        found = load_project(project)
    except NotFoundError as error:
        if project is not None or error.code != "no_project":
            raise
        return RolloutSection(), "default"
    return found.rollout, f"of {found.name}"
