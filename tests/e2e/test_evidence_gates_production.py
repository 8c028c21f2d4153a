"""A release that fails where only staging shows it reaches production by no way."""

from __future__ import annotations

import pytest

from fairway.demo.commands import git

SERVICE = """\
import http.server, os, sys

HEALTHY = False


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = self.path == "/health" and not HEALTHY and os.environ.get("FAIRWAY_ENVIRONMENT") == "staging"
        self.send_response(500 if sick else 200)
        self.end_headers()
        self.wfile.write(b"fine")

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
"""
PROJECT = """\
version: 1
agent: {name: shop}
service:
  command: "python service.py {port}"
  health: /health
  ready: /ready
evals: {suites: []}
environments: {staging: {}, production: {approval: automatic}}
pipeline:
  stages:
    unit_test: {enabled: false, reason: no tests yet}
    prompt_regression: {enabled: false, reason: a service without prompts}
    smoke_test: {tries: 2, interval: 100ms}
"""


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
async def test_a_failed_smoke_test_stops_every_way_to_production(lab) -> None:  # type: ignore[no-untyped-def]
    lab.root.mkdir()
    await git(lab.root, "init", "-q", "-b", "main")
    (lab.root / ".gitignore").write_text(".fairway/\n")
    (lab.root / "fairway.yaml").write_text(PROJECT)
    (lab.root / "service.py").write_text(SERVICE)
    lab.write_policy()
    await lab.commit("v1.0.0")
    failed = (await lab.fairway("run", "-o", "json", expect=1)).json()
    found = {stage["stage"]: stage["status"] for stage in failed["stages"]}
    assert (found["build_image"], found["smoke_test"], found["canary_deploy"]) == ("passed", "failed", "skipped")
    shown = (await lab.fairway("release", "show", "1.0.0")).stdout
    assert "off          unit_test: no tests yet" in shown
    assert "skipped      tool_integration: no tools declared" in shown

    await lab.up()
    for command in (("rollout", "start"), ("deploy",)):
        refused = await lab.fairway(*command, "v1.0.0", expect=2)
        assert "smoke_test: FAIL" in refused.stderr
        assert "fairway run" in refused.stderr
    skipping = (await lab.fairway("run", "--from", "canary_deploy", "-o", "json", expect=1)).json()
    (canary,) = (stage for stage in skipping["stages"] if stage["stage"] == "canary_deploy")
    assert "smoke_test: FAIL" in canary["summary"]
    assert (await lab.status())["stable"] is None

    # By hand, from what a development run of a clean tree has found: cut, and not yet for production.
    (lab.root / "service.py").write_text(SERVICE.replace("HEALTHY = False", "HEALTHY = True"))
    await git(lab.root, "commit", "-qam", "mended")
    await lab.fairway("run", "--to", "build_image")
    made = await lab.fairway("release", "create", "v1.0.1")
    assert "not yet for production (smoke_test" in made.stderr
    assert "smoke_test: nothing was found" in (await lab.fairway("rollout", "start", "1.0.1", expect=2)).stderr
    await lab.fairway("run")  # still without a tag: it takes what is missing
    await lab.fairway("deploy", "1.0.1")
    assert (await lab.status())["stable"]["version"] == "1.0.1"
