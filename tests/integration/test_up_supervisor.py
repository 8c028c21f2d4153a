"""What ``fairway up`` is made of, with stand-ins for gateway and controller."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fairway.errors import UserError
from fairway.state_dir import StateDir
from fairway.supervise.child import ChildSpec, Launch, Patience, Takeover
from fairway.supervise.info import ChildInfo, ChildState, UpInfo, UpLock, read_info, running
from fairway.supervise.leash import Leash
from fairway.supervise.listener import Listener
from fairway.supervise.supervisor import Supervisor, describe_self, marker_prefix
from fairway.targets.local.process import GroupProcess, find_marked, identify
from fairway.targets.local.restarts import RestartPolicy
from fairway.targets.local.target import marker_prefix as arm_marker_prefix

PATIENT = RestartPolicy(first=0.1, ceiling=0.5)

GATEWAY = """
import os, signal, socket, sys
def say(word): print(word, flush=True)
def ended(*_): say("gateway drained"); sys.exit(0)
signal.signal(signal.SIGTERM, ended)
server = socket.socket(fileno=int(sys.argv[1]))
open("gateway.ready", "w").close()
while True:
    client, _ = server.accept()
    data = client.recv(100)
    if data == b"crash": os._exit(9)
    client.sendall(str(os.getpid()).encode()); client.close()
"""

CONTROLLER = """
import os, signal, sys, select, subprocess
def ended(*_): print("controller stopped its arms", flush=True); sys.exit(0)
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
else: signal.signal(signal.SIGTERM, ended)
if "broken" in sys.argv: sys.exit("cannot read the ledger")
open("controller.ready", "w").close()
select.select([int(os.environ["FAIRWAY_LEASH_FD"])], [], [])
print("controller leaves its arms", flush=True)
"""


class Project:
    """A folder with stand-ins, and supervisors of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = StateDir(folder / ".fairway")
        self.seen: list[ChildInfo] = []
        self.open: list[Listener | Leash] = []
        (folder / "gateway.py").write_text(GATEWAY)
        (folder / "controller.py").write_text(CONTROLLER)

    def supervisor(self, port: int, *controller: str, fingerprint: str = "one", grace: float = 5.0) -> Supervisor:
        listener, leash = Listener("127.0.0.1", port), Leash()
        self.open += [listener, leash]

        def spec(name: str, launch: Callable[[], Launch], takeover: Takeover, goodbye: bool) -> ChildSpec:
            async def ready() -> bool:
                return (self.folder / f"{name}.ready").exists()

            async def alive() -> bool:
                try:
                    return bool(await call(listener.port, within=0.3))
                except (OSError, TimeoutError):
                    return False

            return ChildSpec(
                name=name,
                alive=alive if name == "gateway" else None,
                patience=Patience(interval=0.2, failures=3),
                launch=launch,
                cwd=self.folder,
                log=self.state.logs / f"{name}.log",
                ready=ready,
                grace=grace,
                fingerprint=fingerprint,
                takeover=takeover,
                say_goodbye=goodbye,
            )

        def gateway() -> Launch:
            descriptor = listener.open()
            return Launch(command=(sys.executable, "-S", "gateway.py", str(descriptor)), pass_fds=(descriptor,))

        def controlling() -> Launch:
            return Launch(
                command=(sys.executable, "-S", "controller.py", *controller),
                environment=leash.environment(),
                pass_fds=(leash.read_fd,),
            )

        return Supervisor(
            state=self.state,
            specs=[
                spec("gateway", gateway, Takeover.ADOPT, True),
                spec("controller", controlling, Takeover.REPLACE, False),
            ],
            end_order=["gateway", "controller"],
            info=describe_self(
                project=self.folder, url=f"http://127.0.0.1:{port}", admin_url="", mock_url=None, started_at=1.0
            ),
            report=self.seen.append,
            policy=PATIENT,
        )

    def log(self, name: str) -> str:
        path = self.state.logs / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def pids(self) -> dict[str, list[int]]:
        found = find_marked(marker_prefix(self.state))
        return {marker.split("#")[-1]: [one.pid for one in who] for marker, who in found.items()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
async def cleaned(project: Project) -> AsyncIterator[Project]:
    yield project
    for one in project.open:
        one.close()
    for pids in project.pids().values():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def supervising(supervisor: Supervisor) -> AsyncIterator[Supervisor]:
    """A running supervisor that is stopped at the end."""
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        supervisor.stop()
        await asyncio.wait_for(task, 20)


async def until(wanted: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.02)


def child(supervisor: Supervisor, name: str) -> ChildInfo:
    return supervisor.info.children.get(name) or ChildInfo.unknown(name)


def serving(supervisor: Supervisor) -> Callable[[], bool]:
    return lambda: len(supervisor.info.children) == 2 and supervisor.info.serving()


async def call(port: int, data: bytes = b"hello", *, within: float = 10.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), within)
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


async def test_everything_serves_others_can_see_it_and_it_ends_in_order(cleaned: Project, unused_tcp_port: int) -> None:
    async with supervising(cleaned.supervisor(unused_tcp_port)) as supervisor:
        await until(serving(supervisor))
        gateway = child(supervisor, "gateway")
        assert gateway.process is not None
        assert await call(unused_tcp_port) == str(gateway.process.pid).encode()
        info = running(cleaned.state)
        assert info is not None
        assert (info.url, info.process.pid) == (f"http://127.0.0.1:{unused_tcp_port}", os.getpid())
        assert {name: one.state for name, one in info.children.items()} == {
            "gateway": ChildState.SERVING,
            "controller": ChildState.SERVING,
        }
    assert "gateway drained" in cleaned.log("gateway")
    assert "controller stopped its arms" in cleaned.log("controller")
    stopped = [one.name for one in cleaned.seen if one.state is ChildState.STOPPED]
    assert stopped == ["gateway", "controller"]
    assert read_info(cleaned.state) is None
    assert cleaned.pids() == {}


async def test_a_crashed_gateway_comes_back_and_connections_that_wait_are_answered(
    cleaned: Project, unused_tcp_port: int
) -> None:
    async with supervising(cleaned.supervisor(unused_tcp_port)) as supervisor:
        await until(serving(supervisor))
        before = await call(unused_tcp_port)
        await call(unused_tcp_port, b"crash")
        answers = await asyncio.gather(*(call(unused_tcp_port) for _ in range(20)))  # while nobody accepts
        assert len(set(answers)) == 1
        assert answers[0] not in (b"", before)
        assert child(supervisor, "gateway").restarts == 1
        said = [one for one in cleaned.seen if one.state is ChildState.BACKING_OFF]
        assert "exited with code 9" in said[0].detail
        assert "starting again in 100ms" in said[0].detail


async def test_a_child_that_ends_at_once_is_a_crash_loop_with_its_last_words(
    cleaned: Project, unused_tcp_port: int
) -> None:
    async with supervising(cleaned.supervisor(unused_tcp_port, "broken")) as supervisor:
        await until(lambda: child(supervisor, "controller").state is ChildState.CRASH_LOOP)
        assert "cannot read the ledger" in child(supervisor, "controller").detail
        assert child(supervisor, "gateway").state is ChildState.SERVING


async def test_a_gateway_that_hangs_is_killed_and_started_again(cleaned: Project, unused_tcp_port: int) -> None:
    async with supervising(cleaned.supervisor(unused_tcp_port)) as supervisor:
        await until(serving(supervisor))
        hung = child(supervisor, "gateway").process
        assert hung is not None
        os.kill(hung.pid, signal.SIGSTOP)
        await until(lambda: child(supervisor, "gateway").restarts == 1)
        assert "did not answer 3 times and was killed by SIGKILL" in child(supervisor, "gateway").detail
        await until(serving(supervisor))
        assert await call(unused_tcp_port) != str(hung.pid).encode()


async def test_a_second_request_to_stop_does_not_wait_for_the_grace(cleaned: Project, unused_tcp_port: int) -> None:
    supervisor = cleaned.supervisor(unused_tcp_port, "deaf", grace=60.0)
    task = asyncio.create_task(supervisor.run())
    await until(serving(supervisor))
    supervisor.stop()
    await asyncio.sleep(0.5)
    assert not task.done()
    supervisor.stop()
    await asyncio.wait_for(task, 10)
    assert supervisor.hurried
    assert cleaned.pids() == {}


async def test_arms_whose_controller_is_dead_are_ended_as_well(cleaned: Project, unused_tcp_port: int) -> None:
    arm = GroupProcess.start(
        ["sleep", "60"],
        cwd=cleaned.folder,
        environment={**os.environ, "FAIRWAY_INSTANCE": f"{arm_marker_prefix(cleaned.state)}production-1-0"},
        log=cleaned.folder / "arm.log",
    )
    async with supervising(cleaned.supervisor(unused_tcp_port, "broken")) as supervisor:
        await until(lambda: child(supervisor, "controller").state is ChildState.CRASH_LOOP)
        assert arm.poll() is None
    assert arm.poll() is not None


def as_process(project: Project, port: int) -> str:
    """A program that supervises the project."""
    return textwrap.dedent(f"""
        import asyncio, importlib.util
        spec = importlib.util.spec_from_file_location("t", {__file__!r})
        t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
        async def main():
            supervisor = t.Project(t.Path({str(project.folder)!r})).supervisor({port})
            running = asyncio.create_task(supervisor.run())
            await t.until(t.serving(supervisor))
            print("serving", flush=True)
            await running
        asyncio.run(main())
    """)


async def killed_supervisor(project: Project, port: int) -> UpInfo:
    """Start a supervisor in another process, kill it with -9, and return what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", as_process(project, port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 15) == b"serving\n"
    info = running(project.state)
    assert info is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert running(project.state) is None
    return info


async def test_after_kill_9_the_gateway_goes_on_and_the_next_supervisor_adopts_it(
    cleaned: Project, unused_tcp_port: int
) -> None:
    before = await killed_supervisor(cleaned, unused_tcp_port)
    old = before.children["gateway"].process
    controller = before.children["controller"].process
    assert old is not None
    assert controller is not None
    assert await call(unused_tcp_port) == str(old.pid).encode()
    await until(lambda: identify(controller.pid) is None)
    assert "controller leaves its arms" in cleaned.log("controller")
    async with supervising(cleaned.supervisor(unused_tcp_port)) as supervisor:
        await until(serving(supervisor))
        assert child(supervisor, "gateway").process == old
        assert await call(unused_tcp_port) == str(old.pid).encode()
        assert len(cleaned.pids()["gateway"]) == 1
        # An adopted gateway that dies is replaced; its socket died with it, so the port is bound anew.
        os.kill(old.pid, signal.SIGKILL)
        await until(lambda: child(supervisor, "gateway").restarts == 1 and serving(supervisor)())
        assert await call(unused_tcp_port) == str(cleaned.pids()["gateway"][0]).encode()
    assert cleaned.pids() == {}


async def test_a_gateway_that_was_started_otherwise_is_replaced(cleaned: Project, unused_tcp_port: int) -> None:
    before = await killed_supervisor(cleaned, unused_tcp_port)
    old = before.children["gateway"].process
    assert old is not None
    async with supervising(cleaned.supervisor(unused_tcp_port, fingerprint="two")) as supervisor:
        await until(serving(supervisor))
        assert await call(unused_tcp_port) == str(child(supervisor, "gateway").process.pid).encode()  # type: ignore[union-attr]
        assert identify(old.pid) is None
    assert "gateway drained" in cleaned.log("gateway")


async def test_children_of_a_killed_supervisor_are_found_though_nothing_was_written_down(
    cleaned: Project, unused_tcp_port: int
) -> None:
    await killed_supervisor(cleaned, unused_tcp_port)
    cleaned.state.pid_file("up").unlink()
    async with supervising(cleaned.supervisor(unused_tcp_port)) as supervisor:
        await until(serving(supervisor))
        assert {name: len(pids) for name, pids in cleaned.pids().items()} == {"gateway": 1, "controller": 1}
        assert (await call(unused_tcp_port)).decode() == str(cleaned.pids()["gateway"][0])


def test_a_second_up_is_refused_and_says_who_runs_where(project: Project) -> None:
    first, second = UpLock(project.state), UpLock(project.state)
    first.take()
    with pytest.raises(UserError, match="already runs for this project") as caught:
        second.take()
    assert caught.value.exit_code == 2
    first.release()
    second.take()
    second.release()


def test_a_taken_port_is_named_with_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} on 127.0.0.1 is taken by .*pid {os.getpid()}") as caught:
            Listener("127.0.0.1", port).open()
        assert caught.value.code == "port_taken"
        assert "--port" in str(caught.value.hint)


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1:8700") as caught:
        Listener("192.0.2.1", 8700).open()
    assert caught.value.code == "bad_host"
