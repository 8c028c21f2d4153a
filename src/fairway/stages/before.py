"""What a run would trip over late is refused before its first stage."""

from __future__ import annotations

from collections.abc import Collection

from fairway.bundle.files import Bundle
from fairway.errors import NotFoundError, UserError
from fairway.evals.suite import load_suites, select_suites
from fairway.project.load import Project
from fairway.release.port import ReleaseStore
from fairway.units import short

_PLAYS_SUITES = frozenset({"prompt_regression", "cost_gate", "e2e_test"})


def refuse_wrong_files(project: Project, bundle: Bundle, stages: Collection[str]) -> None:
    """Refuse mistakes in the files that stages read: the suites.

    Args:
        project: Whose run.
        bundle: What is examined.
        stages: What will run.

    Raises:
        ProjectFileError: With file, line, column and key of the first mistake.
    """
    if _PLAYS_SUITES & set(stages):
        _check_suites(project, bundle)


def _check_suites(project: Project, bundle: Bundle) -> None:
    patterns, document = project.evals.suites, project.document
    chosen = set(select_suites((file.path for file in bundle.files), patterns, document=document))
    read = {file.path: content for file, content in bundle.contents(f for f in bundle.files if f.path in chosen)}
    load_suites(read, read.__getitem__, patterns, document=document)


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
