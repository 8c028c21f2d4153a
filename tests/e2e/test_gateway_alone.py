"""Controller, supervisor and ledger gone: traffic goes on, the gateway takes a bad release away by itself, and people
pin it; once they are back both are on record, with who, when and on what evidence."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import psutil
import pytest

from fairway.demo.commands import git
from fairway.supervise.info import running
from fairway.testing.gateway_process import until
from fairway.traffic.local_http import LocalClient

SERVICE = """\
import asyncio, os, sys

RELEASE = "good"
BODY = b'{"response": "hello"}'
ANSWER = b"HTTP/1.1 %b\\r\\ncontent-type: application/json\\r\\ncontent-length: 21\\r\\n\\r\\n" + BODY


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
            bad = RELEASE == "bad" and b"/chat" in head.split(b"\\r\\n")[0] and os.path.exists(os.environ["SWITCH"])
            self.transport.write(ANSWER % (b"500 Broken" if bad else b"200 OK"))


async def main():
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
"""


async def rollout_with_a_release_that_will_break(lab, switch):
    lab.root.mkdir()
    service = SERVICE.replace('os.environ["SWITCH"]', repr(str(switch)))
    (lab.root / "service.py").write_text(service)
    await git(lab.root, "init", "-q")
    await lab.fairway(
        "init", ".", "--template", "existing", "--name", "hello",
        "--command", "python service.py {port}", "--health", "/", "--ready", "/", "--chat", "/chat",
    )  # fmt: skip
    lab.write_policy(**{"dwell: 2s": "dwell: 60s"})
    await lab.commit("v1.0.0")
    await lab.up()
    await lab.fairway("run")
    (lab.root / "service.py").write_text(service.replace('"good"', '"bad"'))
    await lab.commit("v1.1.0")
    await lab.fairway("run", "--to", "e2e_test")
    await lab.fairway("rollout", "start", "v1.1.0")


async def gateway_status(lab):
    """What `fairway gateway status -o json` prints, asked for here: a process for each look would load the machine."""
    client = LocalClient(lab.state.socket("gateway"))
    try:
        return (await client.ask("GET", "/v1/status", within=40.0)).json()
    finally:
        client.close()


async def candidate_serves(lab):
    table = (await gateway_status(lab))["table"]
    return table is not None and table["split"] != "0%" and len(table["arms"]) == 2


async def served(traffic, count):
    return len(traffic.records) >= count


async def recorded(lab):
    rows = json.loads((await lab.fairway("audit", "log", "--kind", "gateway", "-o", "json")).stdout)
    return {row["payload"]["payload"]["did"]: row for row in rows}


@pytest.mark.slow
async def test_the_gateway_alone_takes_a_bad_release_away_and_is_pinned_and_both_are_on_record_later(lab, tmp_path):
    switch = tmp_path / "break"
    await rollout_with_a_release_that_will_break(lab, switch)
    await until(lambda: candidate_serves(lab), 60)
    info = running(lab.state)
    psutil.Process(info.process.pid).kill()
    psutil.Process(info.children["controller"].process.pid).kill()
    away = lab.state.ledger.with_name("away")
    away.mkdir()
    for file in lab.state.ledger.parent.glob(f"{lab.state.ledger.name}*"):
        shutil.move(file, away / file.name)
    begun = datetime.now(UTC)
    async with lab.traffic(rate=40) as traffic:
        await until(lambda: served(traffic, 40), 60)
        switch.touch()

        async def tripped():
            return (await gateway_status(lab))["tripped"] is not None

        await until(tripped, 60)
        seen = len(traffic.records)
        await until(lambda: served(traffic, seen + 60), 60)
        after = [record for record in list(traffic.records)[seen + 20 :] if record.status is not None]
        assert len(after) > 20
        assert {(record.status, record.release) for record in after} == {(200, "1.0.0")}, "stable serves everybody"
        await lab.fairway("gateway", "pin", "stable", "--actor", "ada")
    ended = datetime.now(UTC)
    status = await gateway_status(lab)
    assert (status["pinned"], status["table"]["split"]) == ("stable", "20%")
    for file in away.iterdir():
        shutil.move(file, lab.state.ledger.parent / file.name)
    await lab.up()

    async def on_record():
        return {"tripped", "pinned"} <= (await recorded(lab)).keys()

    await until(on_record, 60)
    rows = await recorded(lab)
    trip, pin = rows["tripped"], rows["pinned"]
    assert (trip["actor"], pin["actor"]) == (f"gateway {status['gateway']}", "ada")
    for row in (trip, pin):
        assert begun <= datetime.fromisoformat(row["payload"]["at"].replace("Z", "+00:00")) <= ended, "when it happened"
    found = trip["payload"]["payload"]
    assert found["release"] == status["table"]["arms"][1]["release"]
    assert found["evidence"]["bad"] > found["evidence"]["stable_bad"] == 0
    said = (await lab.fairway("audit", "log", "--kind", "gateway")).stdout
    assert f"{found['evidence']['bad']} of {found['evidence']['units']} bad" in said
    await lab.until("rolled_back", seconds=60)
    assert json.loads((await lab.fairway("audit", "verify", "-o", "json")).stdout)["ok"]
