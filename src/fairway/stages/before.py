"""What a run would trip over late is refused before its first stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fairway.bundle.files import Bundle
from fairway.errors import FairwayError, NotFoundError, UserError
from fairway.evals.judges.calibration_set import load_calibration
from fairway.evals.suites.load import load_suites, select_suites
from fairway.llm.mock.scenario import parse_scenario
from fairway.project.load import Project
from fairway.release.port import ReleaseStore
from fairway.stages.config import DEFAULT_ENVIRONMENT, DeployStagingSection
from fairway.stages.eval_judge import judge_scale
from fairway.units import short

_PLAYS_SUITES = frozenset({"prompt_regression", "cost_gate", "e2e_test"})


def refuse_wrong_files(project: Project, bundle: Bundle, stages: Collection[str]) -> None:
    """Refuse mistakes in the files that stages read: suites, and the scenario of the mock model.

    Args:
        project: Whose run.
        bundle: What is examined.
        stages: What will run.

    Raises:
        ProjectFileError: With file, line, column and key of the first mistake.
    """
    if _PLAYS_SUITES & set(stages):
        _check_suites(project, bundle)
        _check_judge(project, bundle)
    if any(_uses_mock_model(project, environment) for environment in _environments(project, stages)):
        _check_scenario(project, bundle)


def _check_suites(project: Project, bundle: Bundle) -> None:
    patterns, document = project.evals.suites, project.document
    chosen = set(select_suites((file.path for file in bundle.files), patterns, document=document))
    read = {file.path: content for file, content in bundle.contents(f for f in bundle.files if f.path in chosen)}

    def content(path: str) -> bytes:
        return read[path] if path in read else bundle.read(path)

    load_suites([file.path for file in bundle.files], content, patterns, document=document)


def _check_judge(project: Project, bundle: Bundle) -> None:
    judge = project.evals.judge
    if judge is None or not judge.enabled:
        return
    if judge.rubric and bundle.find(judge.rubric) is None:
        raise project.document.error(
            ("evals", "judge", "rubric"),
            f"there is no file {judge.rubric} among the files of the project",
            hint="write it and `git add` it, or leave the key out: the rubric of each case is enough",
        )
    calibration = judge.calibration
    if calibration is None:
        return
    if bundle.find(calibration.items) is None:
        raise project.document.error(
            ("evals", "judge", "calibration", "items"),
            f"there is no file {calibration.items} among the files of the project",
            hint="write it and `git add` it; docs/evals/judges.md says what stands in it",
        )
    settings = judge_scale(judge)
    load_calibration(bundle.read(calibration.items), file=calibration.items, settings=settings)


def _environments(project: Project, stages: Collection[str]) -> Iterator[str]:
    """Where the stages start the service."""
    if "prompt_regression" in stages:
        yield project.evals.environment or DEFAULT_ENVIRONMENT
    if "deploy_staging" in stages:
        yield project.stage_config("deploy_staging", DeployStagingSection).environment


def _uses_mock_model(project: Project, environment: str) -> bool:
    try:
        return project.overlay(environment).uses_mock_models
    except FairwayError:
        return False  # what cannot be resolved is static analysis' to say


def _check_scenario(project: Project, bundle: Bundle) -> None:
    scenario = project.llm.mock.scenario
    if bundle.find(scenario) is None:
        raise project.document.error(
            ("llm", "mock", "scenario"),
            f"there is no scenario {scenario} for the mock model",
            hint="write one (`fairway init` makes evals/mock-llm.yaml), or name another provider in models.yaml",
        )
    parse_scenario(bundle.read(scenario), file=scenario)


def refuse_taken_version(project: Project, ledger: ReleaseStore, bundle: Bundle, version: str) -> None:
    """Refuse a version that was released with other content; the same content again is fine.

    Raises:
        UserError: ``version_taken``.
    """
    try:
        manifest = ledger.find_release(project.name, version).manifest
    except NotFoundError:
        return
    if manifest.release_version == version and manifest.release_digest != bundle.digest:
        raise UserError(
            f"cannot release {version}: it is released already with other content ({short(manifest.release_digest)} "
            f"of commit {manifest.commit_sha[:12]})",
            code="version_taken",
            hint="releases never change: choose the next version, or run without --version to only check the files",
        )
