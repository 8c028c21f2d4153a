"""``kill -9`` of controller, gateway, worker, arm, or all, under load and in the middle of a rollout: it converges."""

from __future__ import annotations

import asyncio
import os
import random

import psutil
import pytest

from fairway.demo.commands import git
from fairway.supervise.info import running

SERVICE = """\
import asyncio, sys

BODY = b'{"response": "hello"}'
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY) + BODY


class Service(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while b"\\r\\n\\r\\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\\r\\n\\r\\n")
            length = 0
            for line in head.lower().split(b"\\r\\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
"""


async def project(lab):
    """Stable 1.0.0 serves; 1.1.0 is released and ready to start."""
    lab.root.mkdir()
    (lab.root / "service.py").write_text(SERVICE)
    await git(lab.root, "init", "-q")
    await lab.fairway(
        "init", ".", "--template", "existing", "--name", "hello",
        "--command", "python service.py {port}", "--health", "/", "--ready", "/", "--chat", "/chat",
    )  # fmt: skip
    lab.write_policy()
    await lab.commit("v1.0.0")
    await lab.up()
    await lab.fairway("run")


def victims(lab, who):
    """Processes of this project that a name stands for."""
    info = running(lab.state)
    pids = {name: child.process.pid for name, child in info.children.items() if child.process is not None}
    if who in ("controller", "gateway"):
        return [pids[who]]
    if who == "worker":
        return [psutil.Process(pids["gateway"]).children()[0].pid]
    if who == "up":
        return [info.process.pid]
    arms = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"]
        and "service.py" in process.info["cmdline"][1:2]
        and str(lab.root) in (process.environ().get("FAIRWAY_BUNDLE") or "")
    ]
    if who == "arm":
        return arms[:1]
    return [info.process.pid, *pids.values(), *arms]


async def converged(lab, *phases):
    """Where the rollout ended; a person resumes it where the kill was an outage of both arms, which pauses."""
    for _ in range(240):
        status = await lab.status()
        rollout = status["rollout"]
        if rollout["phase"] in phases:
            return status
        if "this is not the" in (rollout["paused"] or ""):
            await lab.fairway("rollout", "resume", "--reason", "the kill was the outage", expect=None)
        await asyncio.sleep(0.5)
    raise AssertionError(f"it did not converge: {rollout}")


ROUNDS = ("up", "controller", "everything", "gateway", "arm", "worker", "everything", "up", "up", "everything")
"""All of them in CI, half of them elsewhere: each is a release, a rollout and a kill of real processes."""
KILLS = ROUNDS if os.environ.get("FAIRWAY_REQUIRE_ALL") == "1" else ROUNDS[:5]


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
async def test_after_each_kill_under_load_the_rollout_ends_as_decided_and_every_record_is_there(lab):
    chance = random.Random(20)
    await project(lab)
    stable, promoted = "1.0.0", 0
    async with lab.traffic(rate=20) as traffic:
        for number, who in enumerate(KILLS, start=1):
            version = f"1.{number}.0"
            (lab.root / "service.py").write_text(SERVICE.replace("hello", f"hello {number}"))
            await lab.commit(f"v{version}")
            await lab.fairway("run", "--to", "e2e_test")
            await lab.fairway("rollout", "start", f"v{version}")
            await asyncio.sleep(chance.uniform(0.0, 6.0))
            for pid in victims(lab, who):
                psutil.Process(pid).kill()
            if who in ("up", "everything"):
                await asyncio.sleep(0.5)
                await lab.up()
            status = await converged(lab, "done", "soaking", "rolled_back")
            rollout, told = status["rollout"], f"round {number}, killed {who}: {status['rollout']}"
            if rollout["phase"] == "rolled_back":  # its arm was down while stable's was up: that is evidence
                assert rollout["cause"] in ("gate_failed", "candidate_crashed", "candidate_not_ready"), told
            else:
                stable = version
                promoted += 1
            assert status["stable"]["version"] == stable, told
        await converged(lab, "done", "rolled_back")
        await asyncio.sleep(2)
    (await lab.fairway("audit", "verify", "-o", "json")).json()
    await lab.fairway("audit", "replay", "-o", "json")
    answered = [record for record in traffic.records if record.status == 200][-20:]
    assert {record.release for record in answered} == {stable}, "the last answers come from what was decided"
    assert promoted >= len(KILLS) // 2, "killing the machinery is no evidence against a release"
