"""An evaluation without a project: suite files, and somebody to ask."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.cli.eval.arranging import (
    STABLE,
    Limits,
    answer_cache,
    header_of,
    is_target,
    measured_of,
    options_of,
    spend_cap,
    stored_baseline,
)
from fairway.cli.eval.policy import gate_policy
from fairway.cli.eval.suites import default_files, named_suites, smoke_cases
from fairway.errors import UserError
from fairway.evals.assertions.check import needs_measuring
from fairway.evals.assertions.measuring import Measurers
from fairway.evals.assertions.scripts import Scripts
from fairway.evals.assertions.webhooks import Webhooks
from fairway.evals.instrument import instrument_digest
from fairway.evals.playing_out import Measured, Playing, repeated
from fairway.evals.subjects.open import open_subject
from fairway.evals.values import PASS_SCORE
from fairway.http_client.client import HttpClient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.history.folders import RunHeader
    from fairway.evals.running.cache import CallCache
    from fairway.evals.running.spend import SpendCap
    from fairway.evals.trials import Measuring, Subject
    from fairway.evals.values import Suite


async def bare_playing(
    place: EvalPlace, asked: Asked, header: RunHeader, stack: AsyncExitStack
) -> tuple[RunHeader, Playing]:
    """What is asked of whom.

    Args:
        place: Where runs are kept.
        asked: What a person asked for.
        header: Of the run.
        stack: Closes the subjects.

    Raises:
        UserError: Without suites, or without a target.
    """
    if not _paths(asked) or asked.target is None:
        missing = "whom to ask" if _paths(asked) else "a suite"
        raise UserError(
            f"there is no fairway.yaml here, so say {missing}",
            code="eval_option",
            hint="fairway eval run cases.yaml --target http://127.0.0.1:8000/chat",
        )
    _only_here(asked)
    measured = bare_measured(asked)
    each = Limits().timeout
    limits = Limits(timeout=each * _longest(measured.suites) + (2 * each if asked.judge else 0.0))
    spend = spend_cap(asked, limits)
    cache = answer_cache(place, asked, stack)
    concurrency, timeout = asked.concurrency or limits.concurrency, asked.timeout or each

    async def ask(text: str, version: str | None = None) -> Subject:
        subject = open_subject(text, timeout_seconds=timeout, concurrency=concurrency, version=version)
        return await stack.enter_async_context(subject)

    candidate = await ask(asked.target, asked.target_version)
    other = None
    if asked.baseline is not None and is_target(asked.baseline):
        other = await ask(asked.baseline)
    stored = stored_baseline(place, asked, header, measured.instrument, environment="")
    playing = Playing(
        measured=measured,
        candidate=candidate,
        baseline=other,
        stored=stored,
        options=options_of(asked, header, limits),
        policy=gate_policy(
            place, asked, compared=other is not None or stored is not None, interleaved=other is not None
        ),
        measuring=await _measuring(
            place, asked, measured.suites, stack, concurrency=concurrency, spend=spend, cache=cache
        ),
        spend=spend,
        cache=cache,
    )
    return header_of(header, playing, agent=place.agent, environment="", release=None), playing


def _longest(suites: Sequence[Suite]) -> int:
    """Turns of the longest conversation."""
    return max((len(case.turns) for suite in suites for case in suite.cases), default=1)


def _only_here(asked: Asked) -> None:
    """Refuse what only a project has: left out in silence, the verdict would be about something nobody asked for.

    Raises:
        UserError: ``eval_option``.
    """
    if asked.baseline == STABLE:
        raise UserError(
            "there is no fairway.yaml here, so there is no stable release to compare with",
            code="eval_option",
            hint="--baseline latest, blessed, a run's id, or another target",
        )
    if asked.environment is not None:
        raise UserError(
            "there is no fairway.yaml here, so there are no environments",
            code="eval_option",
            hint="leave --environment out",
        )


def bare_measured(asked: Asked) -> Measured:
    """What is played of the files that were named.

    Raises:
        UserError: A suite is wrong or missing, or nothing is left to play.
    """
    suites = repeated(named_suites(_paths(asked), Path.cwd()), asked.repeat or 1)
    if asked.layer == "smoke":
        suites = smoke_cases(suites)
    judge = None
    if asked.judge:
        from fairway.cli.eval.bare_judges import bare_judge_settings

        judge = bare_judge_settings(asked.judge)
    instrument = partial(instrument_digest, judge=judge, mock_scenario=None, read=_read)
    return measured_of(suites, asked, instrument, threshold=PASS_SCORE)


def _paths(asked: Asked) -> tuple[str, ...]:
    """The suites that were named, else those that stand where a project's would."""
    return asked.paths or default_files(Path.cwd())


def _read(path: str) -> bytes | None:
    """Content of a script below this folder; ``None``: there is none."""
    try:
        return (Path.cwd() / path).read_bytes()
    except OSError:
        return None


async def _measuring(
    place: EvalPlace,
    asked: Asked,
    suites: Sequence[Suite],
    stack: AsyncExitStack,
    *,
    concurrency: int,
    spend: SpendCap | None,
    cache: CallCache | None,
) -> Measuring | None:
    """Scripts, webhooks and the judges that were named; ``None``: no assertion needs any."""
    if not any(needs_measuring(one) for suite in suites for case in suite.cases for one in case.checks):
        return None
    panel = None
    if asked.judge:
        from fairway.cli.eval.bare_judges import seat_bare_judges

        panel = await seat_bare_judges(
            asked.judge, stack, state=place.state, concurrency=concurrency, spend=spend, cache=cache
        )
    http = HttpClient()
    stack.push_async_callback(http.aclose)
    return Measurers(judge=panel, scripts=Scripts(Path.cwd()), webhooks=Webhooks(http))
