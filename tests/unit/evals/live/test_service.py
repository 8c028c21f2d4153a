"""The process that listens: what reaches the disk is redacted, what breaks is missing, and nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from pathlib import Path

import pytest

from fairway.cli.main import main
from fairway.errors import ConflictError
from fairway.evals.live.kept import kept_lines
from fairway.evals.live.online import OnlineScorer, Scored
from fairway.evals.live.redaction import Redactor, Shape
from fairway.evals.live.service import MOST_REASONS, TURNS, LiveService, LiveSettings, readable_turns
from fairway.evals.subjects.mapping import ChatMapping
from fairway.evals.values import Assertion
from fairway.traffic.sampling import SCORES, STATUS, pack

SECRETS = ("ada@example.org", "4111 1111 1111 1111", "sk-proj-abcdefghijklmnopqrst", "123-45-6789", "CUST-9917",
           "DE89370400440532013000", "+49 170 1234567")  # fmt: skip


def settings(folder: Path) -> LiveSettings:
    return LiveSettings(
        state=folder,
        socket=folder / "samples.sock",
        mapping=ChatMapping(),
        redactor=Redactor(own=(Shape("CUSTOMER", re.compile(r"CUST-\d+")),)),
        keep_bytes=1 << 20,
    )


def everything_on_disk(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


async def listening(service: LiveService, folder: Path):
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    async with asyncio.timeout(5):
        while not (folder / "samples.sock").exists() and not running.done():
            await asyncio.sleep(0.005)
    return stop, running


async def test_no_secret_reaches_the_disk(tmp_path, make_sample):
    service = LiveService(settings(tmp_path), now=lambda: 1.0, scorer=OnlineScorer((), "never asked"))
    stop, running = await listening(service, tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gateway:
        for n, secret in enumerate(SECRETS):
            said = [{"name": secret, "arguments": {"a": [secret], secret: 1}}, {"name": "x", "arguments": secret}]
            sample = make_sample(f"it is {secret}", f"I have {secret} now", tools=said, request=f"g-{n}")
            gateway.sendto(pack(sample), str(tmp_path / "samples.sock"))
    async with asyncio.timeout(5):
        while service.counts.received < len(SECRETS) or service._pending:
            await asyncio.sleep(0.005)
    stop.set()
    await running
    assert service.counts.kept == len(SECRETS)
    assert len(list(readable_turns(kept_lines(tmp_path / TURNS)))) == len(SECRETS)
    kept = everything_on_disk(tmp_path)
    for secret in SECRETS:
        assert secret not in kept
        assert secret.replace(" ", "") not in kept
    assert "verysecretverysecret" not in kept  # of the requests' authorization header
    assert "CUSTOMER_REDACTED" in kept


async def test_only_the_owner_can_read_what_is_kept(tmp_path, make_sample):
    service = LiveService(settings(tmp_path), now=lambda: 1.0)
    service.take(pack(make_sample()))
    (segment,) = (tmp_path / TURNS).iterdir()
    assert segment.stat().st_mode & 0o077 == 0


async def test_what_is_no_sample_is_counted_and_nothing_breaks(tmp_path, make_sample):
    service = LiveService(settings(tmp_path), now=lambda: 1.0)
    for data in (b"", b"x" * 100, pack(make_sample(raw=b"GET / HTTP/1.1\r\n\r\n")), pack(make_sample())):
        service.take(data)
    assert (service.counts.received, service.counts.kept) == (4, 1)
    assert sum(service.counts.unreadable.values()) == 3


def test_reasons_that_are_all_different_do_not_fill_the_memory(tmp_path):
    service = LiveService(settings(tmp_path), now=lambda: 1.0)
    for n in range(MOST_REASONS + 500):
        service._missed(f"reason {n}")
    assert len(service.counts.missing) == MOST_REASONS + 1
    assert service.counts.missing["for other reasons"] == 500


def test_the_folder_of_live_traffic_is_its_owners(tmp_path):
    LiveService(settings(tmp_path / "state"), now=lambda: 1.0)
    assert (tmp_path / "state" / "live").stat().st_mode & 0o077 == 0


async def test_a_second_listener_of_a_project_is_refused(tmp_path):
    stop, running = await listening(LiveService(settings(tmp_path), now=lambda: 1.0), tmp_path)
    with pytest.raises(ConflictError, match="another process"):
        await LiveService(settings(tmp_path), now=lambda: 1.0).run(asyncio.Event())
    stop.set()
    await running
    assert not (tmp_path / "samples.sock").exists()


async def test_scores_are_kept_by_unit_and_block_and_the_state_says_what_is_still_missing(tmp_path, make_sample):
    class Slow(OnlineScorer):
        async def score(self, turn) -> Scored:
            if turn.request == "slow":
                await asyncio.sleep(60)
            return await super().score(turn)

    service = LiveService(
        settings(tmp_path), now=lambda: 7.0, scorer=Slow((Assertion(type="contains", value="hi"),), None)
    )
    stop, running = await listening(service, tmp_path)
    for request, reply, t0 in (("a", "hi", 10.0), ("b", "no", 20.0), ("slow", "hi", 30.0)):
        service.take(pack(make_sample("q", reply, request=request, t0=t0)))
    async with asyncio.timeout(5):
        while service.counts.scored < 2:
            await asyncio.sleep(0.005)
    service._beat(alive=True)
    status = json.loads((tmp_path / STATUS).read_text())
    assert (status["at"], status["oldest"]) == (7.0, 30.0)
    scores = {line["request"]: line for line in kept_lines(tmp_path / SCORES)}
    assert (scores["a"]["score"], scores["a"]["t0"], scores["a"]["unit"]) == (1_000_000, 10.0, "a" * 16)
    assert scores["b"]["score"] == 0
    stop.set()
    await running
    assert json.loads((tmp_path / STATUS).read_text())["at"] == 0.0


def test_the_command_writes_a_suite_of_what_was_kept_and_does_not_capture_it_again(
    tmp_path, make_sample, monkeypatch, capsys
):
    (tmp_path / "fairway.yaml").write_text(
        'version: 1\nagent: {name: shop}\nservice: {command: "x {port}"}\ngateway: {capture: {share: 5%}}\n'
    )
    service = LiveService(settings(tmp_path / ".fairway"), now=lambda: 1.0)
    service.take(pack(make_sample("my mail is ada@example.org", request="1")))
    service.take(pack(make_sample("hello", request="2", unit="b" * 16)))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fairway", "eval", "capture", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), capsys.readouterr().out

    code, said = call("-o", "json")
    told = json.loads(said)
    assert (code, len(told["cases"]), told["cases"][0]["complete"]) == (0, 2, False)
    text = (tmp_path / told["file"]).read_text()
    assert "ada@" not in text
    assert "[EMAIL_REDACTED]" in text
    code, said = call()
    assert code == 0
    assert "no case to capture: 2 conversations, 2 say what another case says" in said


def test_without_capture_the_command_says_how_to_switch_it_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "fairway.yaml").write_text('version: 1\nagent: {name: shop}\nservice: {command: "x {port}"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fairway", "eval", "capture"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "capture: {share: 1%}" in capsys.readouterr().err
