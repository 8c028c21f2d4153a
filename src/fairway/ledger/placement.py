"""Where a ledger may lie: on a disk of this machine. SQLite's write-ahead log does not work across a network."""

from __future__ import annotations

from pathlib import Path

from fairway.errors import UserError

_MOUNTS = Path("/proc/self/mounts")

NETWORK_TYPES = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs",
        "ncpfs", "davfs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph",
        "fuse.davfs", "fuse.juicefs",
    }
)  # fmt: skip


def refuse_network_filesystem(path: Path, mounts: str | None = None) -> None:
    """Do nothing on a local file system.

    Args:
        path: The ledger's file, which need not exist.
        mounts: Text in the form of ``/proc/mounts``; read from the system by default. Where there is none (macOS),
            nothing is known and nothing refused.

    Raises:
        UserError: On a network file system (``code="ledger_on_network"``).
    """
    kind = filesystem_of(path, _read_mounts() if mounts is None else mounts)
    if kind in NETWORK_TYPES:
        raise UserError(
            f"{path} is on a network file system ({kind}), where two machines could damage the ledger",
            code="ledger_on_network",
            hint="keep the project's .fairway folder on a local disk; several machines share a ledger by a database",
        )


def filesystem_of(path: Path, mounts: str) -> str | None:
    """Type of the file system ``path`` would be on; ``None`` when the mounts do not tell."""
    wanted = path.resolve()
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(_unescape(fields[1]))
        depth = len(point.parts)
        # The last of several mounts on one point is the one that is seen.
        if wanted.is_relative_to(point) and (best is None or depth >= best[0]):
            best = (depth, fields[2])
    return None if best is None else best[1]


def _read_mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
