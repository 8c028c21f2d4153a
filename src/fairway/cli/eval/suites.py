"""Which cases an evaluation plays: files that were named, or the project's, narrowed as asked."""

from __future__ import annotations

import glob
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.errors import NotFoundError, UserError
from fairway.evals.suites.load import DEFAULT_SUITES, is_table, load_suites, select_suites
from fairway.evals.suites.select import Selection, parse_shard, select_cases

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fairway.cli.eval.asked import Asked
    from fairway.evals.values import Case, Suite

_MOST_FILES = 20_000
_NOT_OURS = frozenset({"node_modules", "__pycache__", "venv"})
_REFERENCES = (b"file", b".csv", b".jsonl", b".txt", b".md")
_SMOKE_CALLS, _SMOKE_TAG = 5, "smoke"


def named_suites(paths: Sequence[str], folder: Path) -> tuple[Suite, ...]:
    """The suites of files and globs, relative to a folder.

    Raises:
        NotFoundError: ``eval_suite``: a path selects nothing.
        ProjectFileError: A suite is wrong.
    """
    files, chosen = named_files(paths, folder)
    return load_suites(files, lambda name: files[name].read_bytes(), chosen)


def named_files(paths: Sequence[str], folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Files by the names they are shown by, and which of them were named; the others are what suites may refer to.

    Raises:
        NotFoundError: ``eval_suite``: a path selects nothing.
    """
    found: dict[str, Path] = {}
    for path in paths:
        matches = sorted(glob.glob(str(folder / path), recursive=True)) if any(m in path for m in "*?[") else [path]
        files = [folder / match for match in matches if (folder / match).is_file()]
        if not files:
            raise NotFoundError(
                f"there is no suite {path}",
                code="eval_suite",
                hint="a suite is a .yaml, .json, .jsonl or .csv file with cases",
            )
        found.update({_shown(file, folder): file for file in files})
    chosen = tuple(found)
    if any(_refers(file) for file in found.values()):
        found = {**{name: folder / name for name in files_below(folder)}, **found}
    return found, chosen


def default_files(folder: Path) -> tuple[str, ...]:
    """Where suites are looked for when nobody names any, in a folder that is no project: those that are there."""
    found = (path for pattern in DEFAULT_SUITES for path in sorted(folder.glob(pattern)) if path.is_file())
    return tuple(path.relative_to(folder).as_posix() for path in found)


def passed_over(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Suites that stand where suites are looked for by default, and that a project's ``evals.suites`` leaves out.

    Not among them are tables, whose cases a suite may take.
    """
    known = tuple(paths)
    chosen = set(select_suites(known, patterns))
    return tuple(one for one in select_suites(known, DEFAULT_SUITES) if one not in chosen and not is_table(one))


def files_below(folder: Path) -> tuple[str, ...]:
    """Every file below a folder, but those of hidden folders and of installed packages.

    Raises:
        UserError: ``eval_suite``: there are too many to be the files of suites.
    """
    found: list[str] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".") and one not in _NOT_OURS]
        base = Path(where).relative_to(folder)
        found += [(base / name).as_posix() for name in names]
        if len(found) > _MOST_FILES:
            raise UserError(
                f"there are more than {_MOST_FILES} files below {folder}",
                code="eval_suite",
                hint="run it in the folder of the suites",
            )
    return tuple(found)


def _refers(file: Path) -> bool:
    """Whether a suite may read other files."""
    if file.suffix.lower() in (".csv", ".jsonl"):
        return False
    content = file.read_bytes()
    return any(mark in content for mark in _REFERENCES)


def _shown(file: Path, folder: Path) -> str:
    resolved = file.resolve()
    return str(resolved.relative_to(folder)) if resolved.is_relative_to(folder) else str(resolved)


def selection_of(asked: Asked) -> Selection:
    """What was asked for.

    Raises:
        UserError: ``eval_shard``: not ``k/n``.
    """
    return Selection(
        suites=asked.suites,
        cases=asked.cases,
        tags=asked.tags,
        text=asked.text,
        shard=parse_shard(asked.shard) if asked.shard else None,
        sample=asked.sample,
        seed=asked.seed,
    )


def selected(suites: Sequence[Suite], asked: Asked) -> tuple[tuple[Suite, ...], tuple[Suite, ...]]:
    """The selection before it is cut into shards, and what this run plays of it.

    Raises:
        UserError: ``eval_no_cases``: nothing is left to play; or what was named is not there.
    """
    chosen = selection_of(asked)
    whole = select_cases(suites, replace(chosen, shard=None))
    if not any(suite.cases for suite in whole):
        raise UserError(
            "there is no case to play",
            code="eval_no_cases",
            hint="add cases to a suite, or ask for less: --case, --tag, --filter",
        )
    if chosen.shard is None:
        return whole, whole
    return whole, select_cases(whole, Selection(shard=chosen.shard))


def smoke_cases(suites: Sequence[Suite], *, calls: int = _SMOKE_CALLS, tag: str = _SMOKE_TAG) -> tuple[Suite, ...]:
    """The smoke layer: cases with the tag, else the first ones, as many as the messages allow; each runs once.

    Args:
        suites: Of the project.
        calls: Messages to the agent at most, over all cases: a conversation of three turns is three.
        tag: Of the smoke cases.

    Raises:
        UserError: ``eval_no_cases``: not even the first case fits.
    """
    tagged = any(tag in case.tags for suite in suites for case in suite.cases)
    left, kept = calls, []
    for suite in suites:
        cases: list[Case] = []
        for case in suite.cases:
            if (not tagged or tag in case.tags) and len(case.turns) <= left:
                left -= len(case.turns)
                cases.append(replace(case, repeat=1, at_least=1, max_repeat=1))
        if cases:
            kept.append(replace(suite, cases=tuple(cases)))
    if not kept:
        raise UserError(f"no case has at most {calls} messages", code="eval_no_cases", hint=f"tag a short one {tag!r}")
    return tuple(kept)
