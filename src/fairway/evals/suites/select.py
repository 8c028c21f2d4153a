"""Which cases of the suites are played: by name, by tag, a sample, or one share of them in each of several jobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from fairway.errors import NotFoundError, UserError
from fairway.evals.values import Case, Suite

_SHARD = re.compile(r"^([1-9]\d{0,5})/([1-9]\d{0,5})$")
_Judge = Callable[[Suite, Case], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a person asked for; each that is given narrows further.

    Attributes:
        suites: Names or globs of suites; one of them must match.
        cases: ``id`` or ``suite/id``, or a glob of either; one of them must match.
        tags: One of them must be there; ``!tag``: it must not be.
        text: Must be part of the id, the name or a user turn; upper and lower case are the same.
        shard: ``(part, parts)``, from 1.
        sample: At most so many cases, drawn by ``seed``; ``None``: all.
        seed: Gives another sample; the same seed always draws the same cases of the same suites.
    """

    suites: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    text: str | None = None
    shard: tuple[int, int] | None = None
    sample: int | None = None
    seed: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether every case of every suite is played."""
        return self == Selection(seed=self.seed)


def parse_shard(text: str) -> tuple[int, int]:
    """``2/8`` as ``(2, 8)``.

    Raises:
        UserError: Not ``k/n`` with 1 <= k <= n.
    """
    match = _SHARD.match(text.strip())
    if match is None or int(match[1]) > int(match[2]):
        raise UserError(
            f"{text!r} is not a shard", code="eval_shard", hint="write for example 2/8: the second of eight"
        )
    return int(match[1]), int(match[2])


def select_cases(suites: Sequence[Suite], selection: Selection) -> tuple[Suite, ...]:
    """The suites with the selected cases only, in their own order; a suite of which nothing is left is left out.

    The instrument's digest belongs to the suites *before* a shard is taken, so that the parts can be merged.

    Raises:
        NotFoundError: A suite or case that was named is not there.
    """
    _refuse_unknown(suites, selection)
    kept = _keep(suites, _asked_for(selection))
    if selection.sample is not None:
        kept = _sample(kept, selection.sample, selection.seed)
    if selection.shard is not None:
        part, parts = selection.shard
        kept = _keep(kept, lambda suite, case: shard_of(suite.name, case, parts) == part)
    return kept


def shard_of(suite: str, case: Case, parts: int) -> int:
    """Which of ``parts`` shards plays a case, from 1.

    It depends on the suite's name and the case's id alone, so that a case that is added or removed moves no other one.
    Cases of one family stay together: they are one cluster of the gate.
    """
    return _hashed(suite, case.family or case.id) % parts + 1


def _hashed(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8])


def _keep(suites: Iterable[Suite], judge: _Judge) -> tuple[Suite, ...]:
    narrowed = (replace(suite, cases=tuple(case for case in suite.cases if judge(suite, case))) for suite in suites)
    return tuple(suite for suite in narrowed if suite.cases)


def _asked_for(selection: Selection) -> _Judge:
    wanted = [tag for tag in selection.tags if not tag.startswith("!")]
    refused = [tag[1:] for tag in selection.tags if tag.startswith("!")]
    text = selection.text.casefold() if selection.text else None

    def judge(suite: Suite, case: Case) -> bool:
        return (
            (not selection.suites or any(_matches(suite.name, pattern) for pattern in selection.suites))
            and (not selection.cases or any(_names(suite, case, pattern) for pattern in selection.cases))
            and (not wanted or any(tag in case.tags for tag in wanted))
            and not any(tag in case.tags for tag in refused)
            and (text is None or any(text in one.casefold() for one in (case.id, case.name, *case.turns)))
        )

    return judge


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _names(suite: Suite, case: Case, pattern: str) -> bool:
    return _matches(case.id, pattern) or _matches(f"{suite.name}/{case.id}", pattern) or case.family == pattern


def _sample(suites: Sequence[Suite], size: int, seed: int) -> tuple[Suite, ...]:
    """A simple random sample without replacement: the cases whose seeded hash is smallest."""
    drawn = sorted(
        ((suite.name, case.id) for suite in suites for case in suite.cases),
        key=lambda key: (_hashed(str(seed), *key), key),
    )
    chosen = set(drawn[: max(0, size)])
    return _keep(suites, lambda suite, case: (suite.name, case.id) in chosen)


def _refuse_unknown(suites: Sequence[Suite], selection: Selection) -> None:
    """A name that selects nothing is a mistake: a run of nothing must not look like a run that was asked for."""
    for pattern in selection.suites:
        if not any(_matches(suite.name, pattern) for suite in suites):
            raise _unknown("suite", pattern, [suite.name for suite in suites])
    for pattern in selection.cases:
        if not any(_names(suite, case, pattern) for suite in suites for case in suite.cases):
            raise _unknown("case", pattern, [case.id for suite in suites for case in suite.cases])


def _unknown(what: str, pattern: str, known: Sequence[str]) -> NotFoundError:
    near = get_close_matches(pattern, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else None
    if what == "suite":
        return NotFoundError(f"there is no suite {pattern!r}", code="eval_suite_not_found", hint=hint)
    return NotFoundError(f"there is no case {pattern!r}", code="eval_case_not_found", hint=hint)
