"""``fairway up``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairway.project.load import Project
    from fairway.supervise.board import LineBoard
    from fairway.supervise.info import UpInfo, UpLock
    from fairway.supervise.supervisor import Supervisor

EPILOG = """\b
Examples:
  fairway up                   serve on the project's port; Ctrl-C drains and ends everything
  fairway up --port 0          on a free port
  fairway up --detach          in the background; fairway up --stop ends it
  fairway up --detach -o json  the same for a program: URLs and process ids
"""


@click.command(epilog=EPILOG)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port for clients; 0 takes a free one.  [default: gateway.port]"
)
@click.option(
    "--admin-port", type=click.IntRange(0, 65535), help="Port of metrics and status.  [default: gateway.admin_port]"
)
@click.option("--detach", is_flag=True, help="Go to the background once everything serves.")
@click.option("--stop", "stopping", is_flag=True, help="Drain and end the one that runs, or what a killed one left.")
@project_option
@output_option
def command(
    port: int | None, admin_port: int | None, detach: bool, stopping: bool, project_dir: str | None, output: str
) -> None:
    """Serve: gateway, controller and arms, supervised.

    What crashes is started again. Ctrl-C lets running requests finish and ends everything; a second one
    ends it at once. When this process is killed the gateway and the arms go on serving, and the next
    `fairway up` takes them over.
    """
    import asyncio
    from pathlib import Path

    from fairway.project.load import load_project
    from fairway.supervise.detached import end_running, start_detached

    project = load_project(Path(project_dir) if project_dir else None)
    if stopping:
        ended = asyncio.run(end_running(project.state, say=say))
        emit({"ended": ended}, output=output, text=lambda: "ended" if ended else "nothing runs")
        return
    if detach:
        _refuse_second(project)
        options = _options(port=port, admin_port=admin_port)
        info = asyncio.run(
            start_detached(project.state, project.root, options, starting=lambda info: _starting(project, info))
        )
        emit(info.to_wire(), output=output, text=lambda: _serving_text(info))
        return
    if asyncio.run(_serve(project, port=port, admin_port=admin_port, output=output)):
        raise KeyboardInterrupt


def _options(**given: int | None) -> list[str]:
    """Options as they were given, for another ``fairway up``."""
    return [
        word
        for name, value in given.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def _refuse_second(project: Project) -> None:
    """Say at once that one runs already."""
    from fairway.supervise.info import UpLock

    lock = UpLock(project.state)
    _take(lock, project)
    lock.release()


def _take(lock: UpLock, project: Project) -> None:
    """Take it, or say who has it - and where that one is in trouble, not to use it as it is."""
    from fairway.errors import UserError
    from fairway.supervise.trouble import controller_trouble

    try:
        lock.take()
    except UserError as error:
        trouble = controller_trouble(project.state)
        if not trouble:
            raise
        hint = "fairway doctor says more; fairway up --stop ends it"
        raise UserError(f"{error.message}, but {trouble}", code="already_up", hint=hint) from None


def _serving_text(info: UpInfo) -> str:
    """What serves where."""
    lines = [f"serving  {info.url}", f"admin    {info.admin_url}", f"pid      {info.process.pid}"]
    return "\n".join([*lines, "end it with: fairway up --stop"])


async def _serve(project: Project, *, port: int | None, admin_port: int | None, output: str) -> bool:
    """Supervise until asked to stop; returns whether it was asked more than once."""
    import asyncio

    from fairway.bootstrap import SERVING_ENVIRONMENT
    from fairway.supervise.info import UpLock
    from fairway.supervise.processes import END_ORDER, Processes
    from fairway.supervise.supervisor import Supervisor

    board = _board(project)
    interrupts = _Interrupts(board)
    interrupts.listen()
    # A Ctrl-C from before the line above has cancelled this task: here it ends, with nothing started.
    await asyncio.sleep(0)
    lock = UpLock(project.state)
    _take(lock, project)
    processes = Processes(project, environment=SERVING_ENVIRONMENT, port=port, admin_port=admin_port)
    try:
        supervisor = Supervisor(
            state=project.state,
            specs=processes.specs(),
            end_order=END_ORDER,
            info=processes.info,
            report=board.child,
        )
        interrupts.reach(supervisor.stop)
        with board:
            watching = asyncio.create_task(_watch(project, supervisor, board, output))
            try:
                await supervisor.run()
            finally:
                watching.cancel()
        board.line("ended; nothing of this project runs any more")
        return supervisor.hurried
    finally:
        processes.close()
        lock.release()


class _Interrupts:
    """Ctrl-C, SIGTERM and a closed terminal: the first drains, each further one hurries."""

    def __init__(self, board: LineBoard) -> None:
        self._board = board
        self._count = 0
        self._stop: Callable[[], None] | None = None

    def listen(self) -> None:
        """Take the signals from now on, except those that are ignored (``nohup``)."""
        import asyncio
        import signal

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._interrupt)

    def reach(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` for each interrupt, also for those there were already."""
        self._stop = stop
        for _ in range(self._count):
            stop()

    def _interrupt(self) -> None:
        """One more."""
        self._count += 1
        if self._stop is not None:
            self._stop()
        self._board.line("draining; once more ends at once" if self._count == 1 else "ending at once")


def _starting(project: Project, info: UpInfo) -> str:
    """What is missing until clients are served, when gateway and controller run."""
    from fairway.supervise.served import still_starting

    return still_starting(project, since=info.started_at)


async def _watch(project: Project, supervisor: Supervisor, board: LineBoard, output: str) -> None:
    """Follow the arms, and say once when everything serves; until then what is missing.

    A program gets the addresses as soon as they answer: what it starts then may bring the first release.
    """
    import asyncio

    told, said, lacked = False, False, ""
    while True:
        board.arms()
        if not said and supervisor.info.serving():
            if output == "json" and not told:
                emit(supervisor.info.to_wire(), output=output, text=str)
            lacks = _starting(project, supervisor.info)
            if lacks and lacks != lacked:
                board.line(f"starting: {lacks}")
            told, said, lacked = True, not lacks, lacks
            if said:
                board.line(f"serving {supervisor.info.url}; Ctrl-C drains and ends it")
        await asyncio.sleep(0.5)


def _board(project: Project) -> LineBoard:
    """Where people see what happens: live on a terminal, lines otherwise."""
    import sys

    from fairway.supervise.board import LineBoard, LiveBoard

    is_live = sys.stderr.isatty()
    return LiveBoard(project.state) if is_live else LineBoard(project.state, write=say)
