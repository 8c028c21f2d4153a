"""The examined content as a folder of its own, so that what is checked is what is released."""

from __future__ import annotations

from pathlib import Path

from fairway.bundle.files import EXECUTABLE, SUBMODULE, SYMLINK, Bundle
from fairway.release.tree import check_link, check_path


def write_tree(bundle: Bundle, folder: Path, *, instrument: bool = True) -> Path:
    """Write the files of a bundle below ``folder``, which must be empty, and return it.

    Args:
        bundle: What is examined.
        folder: Made when it is not there.
        instrument: Whether suites and tests come along; a service gets none.

    Raises:
        RefusedError: When a path or a link would lead outside.
        ConflictError: When the work tree changed since it was scanned.
        OSError: When the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [file for file in (bundle.files if instrument else bundle.release_files()) if file.mode != SUBMODULE]
    for file, content in bundle.contents(wanted):
        check_path(file.path)
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.mode == SYMLINK:
            target = content.decode("utf-8")
            check_link(file.path, target)
            path.symlink_to(target)
            continue
        path.write_bytes(content)
        path.chmod(0o755 if file.mode == EXECUTABLE else 0o644)
    return folder
