"""The smoke suite of a project: the cases of its suites that are tagged for it, played without a judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fairway.clock import Clock
from fairway.evals.running.options import RunOptions
from fairway.evals.running.plain_run import play_suites
from fairway.evals.subjects.arm import ArmSubject
from fairway.evals.subjects.mapping import chat_mapping
from fairway.evals.suites.load import load_suites
from fairway.evals.trials import SubjectInfo
from fairway.evals.values import CaseOutcome, CaseResult, RunResult, Suite
from fairway.project.load import Project
from fairway.units import Verdict

TAG = "smoke"
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CasesFound:
    """What the smoke suite found.

    Attributes:
        verdict: PASS when every case passed; FAIL when one failed; ERROR when one could not be decided; NO_DATA without
            any.
        text: What happened, in words.
        cases, failed, undecided: How many.
    """

    verdict: Verdict
    text: str
    cases: int = 0
    failed: int = 0
    undecided: int = 0


def smoke_suites(paths: Iterable[str], read: Callable[[str], bytes], patterns: Sequence[str]) -> tuple[Suite, ...]:
    """The cases tagged ``smoke``, in their suites.

    Args:
        paths: Files of a commit.
        read: Content of one of them.
        patterns: ``evals.suites``.

    Raises:
        ProjectFileError: When a suite is wrong or missing.
    """
    suites = load_suites(list(paths), read, patterns)
    tagged = (replace(suite, cases=tuple(case for case in suite.cases if TAG in case.tags)) for suite in suites)
    return tuple(suite for suite in tagged if suite.cases)


async def play(
    url: str, project: Project, suites: Sequence[Suite], *, clock: Clock, seconds: float, run_id: str
) -> CasesFound:
    """Play every case against a running service.

    Args:
        url: Of the service.
        project: How the service is talked to.
        suites: What is asked.
        clock: For durations.
        seconds: One case has at most so long.
        run_id: Makes the conversations of this run its own.
    """
    options = RunOptions(concurrency=project.evals.concurrency, case_timeout_seconds=seconds, run_id=run_id)
    mapping = chat_mapping(project.evals, path=project.service.chat)
    async with ArmSubject(url, mapping, SubjectInfo(kind="arm", name=url), timeout_seconds=seconds) as subject:
        return _judged(await play_suites(subject, suites, options, clock=clock))


def _judged(result: RunResult) -> CasesFound:
    failed = [one for one in result.details if one.outcome is CaseOutcome.FAILED]
    open_ones = [one for one in result.details if not one.passed and one.outcome is not CaseOutcome.FAILED]
    total = len(result.details)
    if not total:
        return CasesFound(verdict=Verdict.NO_DATA, text=f"no case is tagged {TAG}")
    if failed or open_ones:
        told = "; ".join(_told(one) for one in (failed or open_ones)[:_SHOWN])
        how = f"{len(failed)} failed, {len(open_ones)} could not be decided" if open_ones else f"{len(failed)} failed"
        return CasesFound(
            verdict=Verdict.FAIL if failed else Verdict.ERROR,
            text=f"of {total} smoke cases {how}: {told}",
            cases=total,
            failed=len(failed),
            undecided=len(open_ones),
        )
    return CasesFound(verdict=Verdict.PASS, text=f"{total} of {total} smoke cases passed", cases=total)


def _told(result: CaseResult) -> str:
    name = f"{result.suite}/{result.case_id}"
    if result.outcome is CaseOutcome.FAILED:
        return f"{name}: " + ("; ".join(violation.message for violation in result.violations) or "failed")
    return f"{name}: {result.undecided or result.outcome.value}"
