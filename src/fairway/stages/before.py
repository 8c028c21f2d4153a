"""What a run would trip over late is refused before its first stage."""

from __future__ import annotations

from fairway.bundle.files import Bundle
from fairway.errors import NotFoundError, UserError
from fairway.project.load import Project
from fairway.release.port import ReleaseStore
from fairway.units import short


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
