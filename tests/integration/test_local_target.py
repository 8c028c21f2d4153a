"""The local target with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import textwrap
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairway.errors import ConflictError, RefusedError
from fairway.state_dir import StateDir
from fairway.targets.local.instance import Timing
from fairway.targets.local.process import GroupProcess, ProcessIdentity, identify
from fairway.targets.local.records import RecordFolder
from fairway.targets.local.restarts import RestartPolicy
from fairway.targets.local.service import LocalService
from fairway.targets.local.target import LocalTarget, PreparedArm, marker_prefix, stop_left_behind
from fairway.targets.port import ArmSpec, AttestedBy, InstanceState, ObservedInstance
from fairway.traffic.table import Role
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
RELEASE = Digest("sha256:" + "a1" * 32)
OTHER = Digest("sha256:" + "b2" * 32)
EFFECTIVE = Digest("sha256:" + "c3" * 32)

FAST = Timing(poll=0.02, ready_interval=0.05, health_interval=0.1, health_timeout=0.5, stop_grace=2.0)
PATIENT = RestartPolicy(first=0.05, ceiling=0.2, probation=0.3)

SERVICE = """
import json, os, signal, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = 200, {"release": os.environ["FAIRWAY_RELEASE"], "effective": os.environ["FAIRWAY_EFFECTIVE"]}
        if self.path == "/slow":
            time.sleep(1.0); body = {"slow": True}
        if self.path == "/pid":
            body = {"pid": os.getpid()}
        if self.path == "/environment":
            body = {name: value for name, value in os.environ.items() if name.startswith("FAIRWAY")}
            body["cwd"] = os.getcwd()
        BEFORE
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args): pass

EARLY
ThreadingHTTPServer.daemon_threads = False
server = ThreadingHTTPServer((os.environ["FAIRWAY_HOST"], int(sys.argv[1])), Handler)
LATE
server.serve_forever()
"""


def source(*, before: str = "pass", early: str = "pass", late: str = "pass") -> str:
    """A tiny service with code put in at three places."""
    return SERVICE.replace("BEFORE", before).replace("EARLY", textwrap.dedent(early)).replace("LATE", late)


class ScriptFiles:
    """Writes a tiny service as the release's files."""

    def __init__(self, text: str | dict[Digest, str], **service: object) -> None:
        self.text = text
        self.service = replace(
            LocalService(command=(sys.executable, "app.py", "{port}"), ready_timeout=5.0, drain=3.0), **service
        )
        self.prepared: list[Digest] = []
        self.refuse: RefusedError | None = None

    async def prepare(self, route: RouteId, spec: ArmSpec, folder: Path) -> PreparedArm:
        tree, bundle = folder / "tree", folder / "bundle"
        tree.mkdir()
        bundle.mkdir()
        if self.refuse is not None:
            raise self.refuse
        text = self.text if isinstance(self.text, str) else self.text[spec.release_digest]
        (tree / "app.py").write_text(text)
        (bundle / "effective.json").write_text("{}")
        self.prepared.append(spec.release_digest)
        return PreparedArm(release_version="1.0.0", service=self.service, tree=tree, bundle=bundle)


def spec(release: Digest = RELEASE, replicas: int = 1) -> ArmSpec:
    return ArmSpec(role=Role.STABLE, release_digest=release, effective_digest=EFFECTIVE, replicas=replicas)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateDir]:
    folder = StateDir(tmp_path / ".fairway")
    yield folder
    await stop_left_behind(folder, grace=0.0)


@asynccontextmanager
async def supervising(state: StateDir, files: ScriptFiles, **options: object) -> AsyncIterator[LocalTarget]:
    """A running target; at the end it dies like a controller: arms live on."""
    settings = {"timing": FAST, "policy": PATIENT, "lock_wait": 2.0, **options}
    target = LocalTarget(state=state, files=files, **settings)  # type: ignore[arg-type]
    running = asyncio.create_task(target.run())
    try:
        yield target
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def instances(target: LocalTarget, release: Digest = RELEASE) -> tuple[ObservedInstance, ...]:
    for arm in await target.observe(ROUTE):
        if arm.release_digest == release:
            return arm.instances
    return ()


async def until(
    target: LocalTarget, wanted: Callable[[tuple[ObservedInstance, ...]], bool], *, seconds: float = 10.0
) -> tuple[ObservedInstance, ...]:
    """Observe until it is so."""
    deadline = time.monotonic() + seconds
    while True:
        seen = await instances(target)
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen}"
        await asyncio.sleep(0.02)


def all_ready(count: int) -> Callable[[tuple[ObservedInstance, ...]], bool]:
    return lambda seen: len([one for one in seen if one.state is InstanceState.READY]) == count


def is_in(state: InstanceState) -> Callable[[tuple[ObservedInstance, ...]], bool]:
    return lambda seen: bool(seen) and all(one.state is state for one in seen)


def ask(endpoint: str, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"http://{endpoint}{path}", timeout=5) as answer:
        return json.loads(answer.read())


async def get(endpoint: str, path: str) -> dict[str, object]:
    return await asyncio.to_thread(ask, endpoint, path)


async def gone(pid: int, *, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if identify(pid) is None:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_an_arm_becomes_ready_and_is_attested_by_its_own_digests(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source())) as target:
        await target.ensure(ROUTE, spec(replicas=2))
        one, two = await until(target, all_ready(2))
        assert one.endpoint != two.endpoint
        assert (one.attested_by, one.reported) == (AttestedBy.ARM, RELEASE)
        seen = await get(one.endpoint, "/environment")
        assert seen["FAIRWAY_RELEASE"] == RELEASE
        assert seen["FAIRWAY_EFFECTIVE"] == EFFECTIVE
        assert seen["FAIRWAY_VERSION"] == "1.0.0"
        assert seen["FAIRWAY_ENVIRONMENT"] == "production"
        assert seen["FAIRWAY_PORT"] == one.endpoint.split(":")[1]
        assert (Path(str(seen["FAIRWAY_BUNDLE"])) / "effective.json").exists()
        assert (Path(str(seen["cwd"])) / "app.py").exists()


async def test_ensuring_twice_starts_nothing_twice_and_fewer_replicas_drain_the_rest(state: StateDir) -> None:
    files = ScriptFiles(source())
    async with supervising(state, files) as target:
        await asyncio.gather(target.ensure(ROUTE, spec(replicas=2)), target.ensure(ROUTE, spec(replicas=2)))
        before = await until(target, all_ready(2))
        await target.ensure(ROUTE, spec(replicas=2))
        assert await instances(target) == before
        assert files.prepared == [RELEASE]
        await target.ensure(ROUTE, spec(replicas=1))
        assert (await until(target, lambda seen: len(seen) == 1))[0].id == before[0].id


async def test_a_service_that_says_nothing_of_digests_is_attested_by_the_supervisor(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source(before="body = {'ok': True}"))) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        assert (one.attested_by, one.reported) == (AttestedBy.SUPERVISOR, None)


async def test_a_service_that_reports_another_release_never_serves(state: StateDir) -> None:
    files = ScriptFiles(source(before=f"body['release'] = {OTHER!r}"), ready_timeout=0.5)
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, is_in(InstanceState.NEVER_READY))
        assert one.reported == OTHER
        assert "serves release b2b2b2b2, not a1a1a1a1" in one.detail


async def test_a_service_that_never_answers_200_is_never_ready_and_its_last_words_hide_secrets(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "hunter2hunter2")
    early = "print('cannot reach the model with', os.environ['SHOP_API_KEY'], flush=True)"
    files = ScriptFiles(source(before="status = 503", early=early), ready_timeout=0.5)
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, is_in(InstanceState.NEVER_READY))
        assert "GET /ready answered 503" in one.detail
        assert "cannot reach the model with [redacted]" in one.detail
        assert "hunter2" not in one.detail


async def test_a_ready_path_that_is_none_names_the_key_to_change(state: StateDir) -> None:
    files = ScriptFiles(source(before="status = 404"), ready_timeout=0.5)
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, is_in(InstanceState.NEVER_READY))
        assert "; service.ready in fairway.yaml says /ready: is that its path?; log: " in one.detail


async def test_a_service_that_was_late_serves_after_all(state: StateDir) -> None:
    late = "started = time.monotonic()"
    before = "status = 200 if time.monotonic() - started > 0.7 else 503"
    async with supervising(state, ScriptFiles(source(before=before, late=late), ready_timeout=0.4)) as target:
        await target.ensure(ROUTE, spec())
        await until(target, is_in(InstanceState.NEVER_READY))
        await until(target, all_ready(1))


async def test_a_service_that_ends_at_once_is_a_crash_loop_with_its_last_words(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source(early="sys.exit('no such table: orders')"))) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, is_in(InstanceState.CRASH_LOOP))
        assert "exited with code 1" in one.detail
        assert "no such table: orders" in one.detail
        assert str(state.logs) in one.detail
        assert one.restarts >= 3
        await until(target, lambda seen: seen[0].restarts >= 4)  # it keeps trying


async def test_a_command_that_does_not_exist_is_a_crash_loop_that_names_it(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source(), command=("no-such-program",))) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, is_in(InstanceState.CRASH_LOOP))
        assert "No such file or directory: no-such-program" in one.detail


async def test_an_arm_killed_with_9_is_started_again_on_its_own(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source())) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        pid = int(str((await get(one.endpoint, "/pid"))["pid"]))
        os.kill(pid, signal.SIGKILL)
        await until(target, lambda seen: seen[0].restarts == 1)
        (again,) = await until(target, all_ready(1))
        assert (again.id, again.endpoint) == (one.id, one.endpoint)
        assert (await get(again.endpoint, "/pid"))["pid"] != pid


async def test_a_hung_service_is_started_again(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source(before="pass"))) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        pid = int(str((await get(one.endpoint, "/pid"))["pid"]))
        os.kill(pid, signal.SIGSTOP)
        seen = await until(target, lambda seen: seen[0].restarts == 1)
        assert "hung" in seen[0].detail
        await until(target, all_ready(1))
        assert await gone(pid)


async def test_draining_lets_a_slow_request_finish_though_the_service_ends_at_sigterm_at_once(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source())) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        slow = asyncio.create_task(get(one.endpoint, "/slow"))
        await asyncio.sleep(0.2)
        await target.drain(ROUTE, RELEASE)
        assert (await instances(target))[0].state is InstanceState.DRAINING
        assert await slow == {"slow": True}
        await until(target, lambda seen: seen == ())


async def test_draining_ends_a_service_that_ignores_sigterm_when_its_grace_is_over(state: StateDir) -> None:
    files = ScriptFiles(source(late="signal.signal(signal.SIGTERM, signal.SIG_IGN)"), drain=0.3)
    async with supervising(state, files, timing=replace(FAST, stop_grace=0.2)) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        pid = int(str((await get(one.endpoint, "/pid"))["pid"]))
        await target.drain(ROUTE, RELEASE)
        await until(target, lambda seen: seen == (), seconds=3)
        assert await gone(pid)


async def test_stop_does_not_wait_for_a_drain(state: StateDir) -> None:
    files = ScriptFiles(source(late="signal.signal(signal.SIGTERM, signal.SIG_IGN)"), drain=60.0)
    async with supervising(state, files, timing=replace(FAST, stop_grace=0.2)) as target:
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))
        await target.drain(ROUTE, RELEASE)
        await asyncio.sleep(0.2)
        await target.stop(ROUTE, RELEASE)
        await until(target, lambda seen: seen == (), seconds=3)


async def test_a_service_that_does_not_answer_delays_neither_its_stop_nor_news_of_its_end(state: StateDir) -> None:
    slow = replace(FAST, health_timeout=30.0, ready_timeout=30.0)
    async with supervising(state, ScriptFiles(source(before="time.sleep(60)")), timing=slow) as target:
        await target.ensure(ROUTE, spec())
        await until(target, lambda seen: bool(find_processes(state)))
        await asyncio.sleep(0.5)
        os.kill(find_processes(state)[0], signal.SIGKILL)
        await until(target, lambda seen: seen[0].restarts == 1, seconds=3)
        await asyncio.sleep(0.5)
        await target.stop(ROUTE, RELEASE)
        await until(target, lambda seen: seen == (), seconds=4)


async def test_what_a_service_forked_dies_with_it_even_when_it_left_the_group(state: StateDir) -> None:
    late = (
        "children = [subprocess.Popen(['sleep', '60']), subprocess.Popen(['sleep', '60'], start_new_session=True)]; "
        "print('children', *[child.pid for child in children], flush=True)"
    )
    async with supervising(state, ScriptFiles(source(late=late))) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        pid = int(str((await get(one.endpoint, "/pid"))["pid"]))
        children = [child.pid for child in psutil.Process(pid).children()]
        assert len(children) == 2
        os.kill(pid, signal.SIGKILL)
        assert all([await gone(child) for child in children])
        await until(target, lambda seen: seen[0].restarts == 1 and all_ready(1)(seen))
        log = next(state.logs.glob("arm-production-a1a1a1a1-0.log")).read_text()
        forked = [int(pid) for line in log.splitlines() for pid in line.split()[1:]]
        await target.stop(ROUTE, RELEASE)
        await until(target, lambda seen: seen == ())
        assert len(forked) == 4
        assert all([await gone(child) for child in forked])


async def test_an_ended_arm_leaves_no_files_but_its_log(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source())) as target:
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))
        await target.stop(ROUTE, RELEASE)
        await until(target, lambda seen: seen == ())
        await asyncio.sleep(0.1)
        assert sorted(path.name for path in state.arms.rglob("*")) == ["instances", "supervisor.lock"]
        assert [path.name for path in state.logs.iterdir()] == ["arm-production-a1a1a1a1-0.log"]


async def test_an_unsigned_release_is_refused_and_nothing_starts(state: StateDir) -> None:
    files = ScriptFiles(source())
    files.refuse = RefusedError("the signature does not verify", code="signature")
    async with supervising(state, files) as target:
        with pytest.raises(RefusedError, match="signature"):
            await target.ensure(ROUTE, spec())
        assert await target.observe(ROUTE) == ()
        assert find_processes(state) == []
        assert not list(state.arms.glob("production-*"))
        files.refuse = None
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))


def find_processes(state: StateDir) -> list[int]:
    """Pids of everything that carries this project's marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FAIRWAY_INSTANCE", "").startswith(marker_prefix(state)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def test_the_next_target_adopts_running_arms_and_starts_no_doubles(state: StateDir) -> None:
    files = ScriptFiles(source())
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec(replicas=2))
        before = await until(target, all_ready(2))
    assert len(find_processes(state)) == 2
    async with supervising(state, files) as target:
        after = await instances(target)  # the very first observation is true already
        assert [(one.id, one.endpoint, one.state) for one in after] == [
            (one.id, one.endpoint, InstanceState.READY) for one in before
        ]
        await target.ensure(ROUTE, spec(replicas=2))
        await asyncio.sleep(0.3)
        assert len(find_processes(state)) == 2
        assert files.prepared == [RELEASE]
        pid = int(str((await get(before[0].endpoint, "/pid"))["pid"]))
        os.kill(pid, signal.SIGKILL)  # an adopted arm is watched like any other
        await until(target, lambda seen: seen[0].restarts == 1 and all_ready(2)(seen))
        await target.shutdown()
        assert find_processes(state) == []


async def test_an_arm_that_died_while_nobody_looked_is_started_again_by_the_next_target(state: StateDir) -> None:
    files = ScriptFiles(source())
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))
    (pid,) = find_processes(state)
    os.kill(pid, signal.SIGKILL)
    assert await gone(pid)
    async with supervising(state, files) as target:
        await until(target, all_ready(1))
        assert len(find_processes(state)) == 1


async def test_a_drain_cut_short_by_the_death_of_its_target_is_finished_by_the_next(state: StateDir) -> None:
    files = ScriptFiles(source(late="signal.signal(signal.SIGTERM, signal.SIG_IGN)"), drain=0.5)
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))
        await target.drain(ROUTE, RELEASE)
    assert len(find_processes(state)) == 1
    async with supervising(state, files, timing=replace(FAST, stop_grace=0.2)) as target:
        assert is_in(InstanceState.DRAINING)(await instances(target))
        await until(target, lambda seen: seen == ())
        assert find_processes(state) == []


async def test_a_process_started_but_not_yet_recorded_is_found_by_its_marker(state: StateDir) -> None:
    files = ScriptFiles(source())
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))
    records = RecordFolder(state.arms / "instances")
    (record,) = records.read_all()
    records.write(replace(record, process=None))
    async with supervising(state, files) as target:
        await until(target, all_ready(1))
        assert find_processes(state) == [record.process.pid if record.process else 0]


async def test_a_process_whose_record_is_lost_is_ended_instead_of_forgotten(state: StateDir) -> None:
    files = ScriptFiles(source())
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))
    (file,) = (state.arms / "instances").glob("*.json")
    file.write_text("{ not json")
    async with supervising(state, files) as target:
        assert await target.observe(ROUTE) == ()
        await asyncio.sleep(0.1)
        assert find_processes(state) == []
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))


async def test_a_reused_pid_is_neither_adopted_nor_signalled(state: StateDir, tmp_path: Path) -> None:
    files = ScriptFiles(source())
    async with supervising(state, files) as target:
        await target.ensure(ROUTE, spec())
        await until(target, all_ready(1))
    (pid,) = find_processes(state)
    os.kill(pid, signal.SIGKILL)
    assert await gone(pid)
    bystander = GroupProcess.start(
        ["sleep", "60"], cwd=tmp_path, environment={"PATH": os.environ["PATH"]}, log=tmp_path / "log"
    )
    try:
        records = RecordFolder(state.arms / "instances")
        (record,) = records.read_all()
        assert record.process is not None
        records.write(replace(record, process=ProcessIdentity(pid=bystander.identity.pid, mark=record.process.mark)))
        async with supervising(state, files) as target:
            await until(target, all_ready(1))
            await target.shutdown()
        assert bystander.poll() is None
    finally:
        await bystander.stop(grace=0, clock=_RealClock())


class _RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def test_two_targets_never_supervise_one_state_folder(state: StateDir) -> None:
    files = ScriptFiles(source())
    async with supervising(state, files) as target:
        await target.observe(ROUTE)
        second = LocalTarget(state=state, files=files, timing=FAST, lock_wait=0.2)
        with pytest.raises(ConflictError, match="another process supervises"):
            await second.ensure(ROUTE, spec())


async def test_a_service_whose_port_was_taken_gets_another(state: StateDir) -> None:
    early = """
    import socket, pathlib
    if not pathlib.Path("taken").exists():
        pathlib.Path("taken").touch()
        blocker = socket.socket(); blocker.bind(("127.0.0.1", 0)); blocker.listen()
        sys.argv[1] = str(blocker.getsockname()[1])
    """
    async with supervising(state, ScriptFiles(source(early=early))) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        assert one.restarts == 0
        assert "in use" in next(state.logs.glob("arm-*")).read_text()


async def test_a_service_whose_port_went_to_somebody_else_while_it_was_down_gets_another(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source()), policy=replace(PATIENT, first=1.0, ceiling=1.0)) as target:
        await target.ensure(ROUTE, spec())
        (one,) = await until(target, all_ready(1))
        os.kill(find_processes(state)[0], signal.SIGKILL)
        await until(target, is_in(InstanceState.BACKING_OFF))
        with socket.create_server(("127.0.0.1", int(one.endpoint.split(":")[1]))):
            (again,) = await until(target, all_ready(1))
        assert again.endpoint != one.endpoint
        assert again.restarts == 1
        assert "in use" not in next(state.logs.glob("arm-*")).read_text()  # it was not even tried


async def test_arms_live_on_when_their_controller_is_killed_with_9_and_are_adopted(state: StateDir) -> None:
    controller = textwrap.dedent(f"""
        import asyncio, importlib.util
        spec = importlib.util.spec_from_file_location("t", {__file__!r})
        t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
        async def main():
            async with t.supervising(t.StateDir(t.Path({str(state.root)!r})), t.ScriptFiles(t.source())) as target:
                await target.ensure(t.ROUTE, t.spec(replicas=2))
                await t.until(target, t.all_ready(2))
                print("ready", flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", controller, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 15) == b"ready\n"
    before = sorted(find_processes(state))
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert sorted(find_processes(state)) == before
    async with supervising(state, ScriptFiles(source())) as target:
        assert all_ready(2)(await instances(target))
        assert sorted(find_processes(state)) == before
        os.kill(before[0], signal.SIGKILL)
        await until(target, lambda seen: all_ready(2)(seen) and sum(one.restarts for one in seen) == 1)


async def test_arms_can_be_ended_without_any_controller(state: StateDir) -> None:
    async with supervising(state, ScriptFiles(source())) as target:
        await target.ensure(ROUTE, spec(replicas=2))
        await until(target, all_ready(2))
    assert await stop_left_behind(state) == 2
    assert find_processes(state) == []
    async with supervising(state, ScriptFiles(source())) as target:
        assert await target.observe(ROUTE) == ()
