"""Processes as a supervisor needs them: own group, an identity that survives pid reuse, a sure end.

A process started here leads its own session and process group, so a signal reaches everything it forked and a
terminal's Ctrl-C does not. It writes to a file, never to a pipe, so it lives on when its supervisor is killed; the next
supervisor finds it by :class:`ProcessIdentity` and polls it. A process that is not our child cannot be waited for: its
exit code is unknown, which is reported as such.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from fairway.clock import Clock

LOOPBACK = "127.0.0.1"
MARKER = "FAIRWAY_INSTANCE"
"""Environment variable that says whose process this is; forked children inherit it, so none can hide."""

_POLL_SECONDS = 0.05
_PORT_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """A process that once ran; its pid may since belong to another.

    Attributes:
        mark: When it started, in the kernel's own units and boot: equal marks mean the same process.
    """

    pid: int
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended; ``code`` is negative for a signal, ``None`` when nobody could wait for it."""

    code: int | None

    def __str__(self) -> str:
        if self.code is None:
            return "ended (exit code unknown: it was adopted)"
        if self.code < 0:
            try:
                return f"was killed by {signal.Signals(-self.code).name}"
            except ValueError:
                return f"was killed by signal {-self.code}"
        return f"exited with code {self.code}"


@cache
def _boot() -> str:
    """The id of this boot, so that a mark of an earlier one never matches; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _linux_mark(pid: int) -> str | None:
    """Boot and start tick; ``None`` for a zombie or no process.

    Raises:
        FileNotFoundError: Where there is no ``/proc``.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            text = stat.read()
    except (FileNotFoundError, ProcessLookupError):
        if os.path.isdir("/proc/self"):
            return None
        raise
    # The command name is in parentheses and may hold anything, so count from the last one: state is field 3.
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return f"{_boot()}:{fields[19].decode()}"


def identify(pid: int) -> ProcessIdentity | None:
    """Who runs under ``pid`` now; ``None`` when nobody does. A zombie no longer runs."""
    if pid <= 0:
        return None
    try:
        mark = _linux_mark(pid)
    except FileNotFoundError:  # not Linux
        try:
            process = psutil.Process(pid)
            mark = None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
        except psutil.NoSuchProcess:
            mark = None
    return None if mark is None else ProcessIdentity(pid=pid, mark=mark)


def is_running(identity: ProcessIdentity) -> bool:
    """Whether that very process still runs, not another one that got its pid."""
    return identify(identity.pid) == identity


def _marker_of(pid: int) -> str | None:
    """The marker in a process's environment; ``None`` when it has none or it is not ours to read."""
    try:
        return psutil.Process(pid).environ().get(MARKER)
    except (psutil.Error, OSError):
        return None


def find_marked(prefix: str) -> dict[str, list[ProcessIdentity]]:
    """Running group leaders by the marker they carry, for markers that start with ``prefix``."""
    found: dict[str, list[ProcessIdentity]] = {}
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) != pid:
                continue
        except OSError:
            continue
        marker = _marker_of(pid)
        if marker is None or not marker.startswith(prefix):
            continue
        identity = identify(pid)
        if identity is not None:
            found.setdefault(marker, []).append(identity)
    return found


def _members(group: int) -> list[int]:
    """Pids of the running processes of a group; zombies are left out."""
    members = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group and identify(pid) is not None:
                members.append(pid)
        except OSError:
            continue
    return members


def _kill_marked(marker: str, among: Iterable[int]) -> None:
    """SIGKILL every process that carries exactly this marker."""
    for pid in among:
        if pid != os.getpid() and _marker_of(pid) == marker:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class GroupProcess:
    """A process group: started here, or adopted.

    Attributes:
        identity: Of the leader.
        marker: What its environment says under :data:`MARKER`; ``None`` when nothing is known of it.
        sweeps: Whether what a leader leaves behind when it dies is killed; without, only :meth:`stop` ends it.
    """

    def __init__(
        self, identity: ProcessIdentity, *, marker: str | None, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.identity = identity
        self.marker = marker
        self.sweeps = True
        self._child = child
        self._exit: Exit | None = None

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        pass_fds: Collection[int] = (),
    ) -> GroupProcess:
        """Start a command as leader of its own session, with both outputs appended to ``log``.

        Raises:
            OSError: When it cannot be started: no such program, not executable, no such folder.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            child = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        # It is our child and not waited for, so the pid is its own even if it has ended already.
        identity = identify(child.pid) or ProcessIdentity(pid=child.pid, mark="ended at once")
        return cls(identity, marker=environment.get(MARKER), child=child)

    @classmethod
    def adopt(cls, identity: ProcessIdentity, *, marker: str | None) -> GroupProcess:
        """Take over a process that another supervisor started."""
        return cls(identity, marker=marker)

    def poll(self) -> Exit | None:
        """How it ended, or ``None`` while its leader runs. Never blocks."""
        if self._exit is None and not is_running(self.identity):
            # The group is swept before the leader is reaped: until then its number cannot be anybody else's.
            if self.sweeps:
                self._sweep()
            self._exit = Exit(code=self._reap())
        return self._exit

    def any_running(self) -> bool:
        """Whether the leader or anything it forked into its group still runs."""
        return self._exit is None and (is_running(self.identity) or bool(self._others()))

    def send(self, number: signal.Signals) -> None:
        """Signal the whole group, also what a leader that ended left in it; nothing happens when it is gone."""
        if self._exit is not None:
            return
        if is_running(self.identity) or self._is_unreaped_child():
            try:
                os.killpg(self.identity.pid, number)
            except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
                pass
            return
        for pid in self._others():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill_leader(self) -> None:
        """SIGKILL the leader alone; what it forked decides for itself, or is swept by :meth:`poll`."""
        if self._exit is None and is_running(self.identity):
            try:
                os.kill(self.identity.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    async def stop(self, *, grace: float, clock: Clock) -> Exit:
        """SIGTERM the group, give it ``grace`` seconds, then SIGKILL what is left; returns how the leader ended.

        The grace is for the group: a shell that ends at once does not cut short the server it started.
        """
        self.send(signal.SIGTERM)
        deadline = clock.monotonic() + grace
        while clock.monotonic() < deadline and self.any_running():
            await clock.sleep(_POLL_SECONDS)
        self.send(signal.SIGKILL)
        while (ended := self.poll()) is None:
            await clock.sleep(_POLL_SECONDS)
        return ended

    def disown(self) -> None:
        """Let it live on without us."""
        if self._child is not None and self._child.returncode is None:
            # Popen complains when it is collected with a running child; here that is the intention.
            self._child.returncode = 0
            self._child = None

    def pids(self) -> list[int]:
        """The running processes of the group."""
        return _members(self.identity.pid) if self._exit is None else []

    def _is_unreaped_child(self) -> bool:
        """Whether its pid is still reserved for it by us, running or not."""
        return self._child is not None and self._child.returncode is None

    def _others(self) -> list[int]:
        """Running members of the group that are ours for sure, beside the leader."""
        members = [pid for pid in _members(self.identity.pid) if pid != self.identity.pid]
        if is_running(self.identity) or self._is_unreaped_child():
            return members
        return [pid for pid in members if _marker_of(pid) == self.marker]

    def _sweep(self) -> None:
        """SIGKILL what the dead leader left behind: its group, and whatever carries its marker elsewhere."""
        if self._is_unreaped_child():
            try:
                os.killpg(self.identity.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        if self.marker is not None:
            _kill_marked(self.marker, psutil.pids())

    def _reap(self) -> int | None:
        """The exit code when it is our child, however we came by it."""
        if self._child is not None:
            return self._child.wait()
        try:
            pid, status = os.waitpid(self.identity.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status) if pid else None


def free_port(*, taken: Collection[int] = (), host: str = LOOPBACK) -> int:
    """A port nobody listens on just now and that is not in ``taken``.

    Another process may take it before the service binds it: start again with another when it says so
    (:func:`says_port_taken`).

    Raises:
        OSError: When the machine has none left.
    """
    for _ in range(_PORT_TRIES):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
    raise OSError(errno.EADDRINUSE, "no free port on loopback")


def port_is_free(port: int, *, host: str = LOOPBACK) -> bool:
    """Whether a server could bind the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


_PORT_TAKEN = ("address already in use", "eaddrinuse", "port is already", "only one usage of each socket")


def says_port_taken(log_tail: str) -> bool:
    """Whether a service that ended complained that its port was taken, in the words servers use."""
    text = log_tail.lower()
    return any(words in text for words in _PORT_TAKEN)


def listener_of(port: int) -> str | None:
    """``name (pid N)`` of the process that listens on a TCP port; ``None`` when the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return None
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None


_ESTABLISHED = "01"


def open_connections(port: int) -> int | None:
    """How many clients are connected to a local port; ``None`` when this system does not tell (only Linux does)."""
    count = 0
    suffix = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            if table == "/proc/net/tcp":
                return None
            continue
        for line in lines:
            fields = line.split()
            if fields[1].endswith(suffix) and fields[3] == _ESTABLISHED:
                count += 1
    return count
