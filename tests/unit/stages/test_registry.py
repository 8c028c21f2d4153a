from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairway.errors import FairwayError, ProjectFileError, UserError
from fairway.pipeline.config import SEED_STAGES
from fairway.pipeline.runner import graph_of
from fairway.project.load import load_project
from fairway.release.required import CHECKS, REHEARSALS
from fairway.stages.interpreter import Interpreter, environment_interpreter
from fairway.stages.registry import NEEDS_RELEASE, build_pipeline, required_for_production, required_for_release
from fairway.stages.tree import write_tree
from fairway.testing.virtual_clock import VirtualClock


def pipeline(bench, settings: str = "", *, releasing: bool = True):  # type: ignore[no-untyped-def]
    bench.commit({"a.py": "x = 1\n"}, settings=settings)
    return build_pipeline(load_project(bench.root), releasing=releasing)


def test_the_seed_stages_are_there_in_their_order(bench) -> None:
    assert tuple(node.id for node in pipeline(bench)) == SEED_STAGES


def test_every_stage_can_be_made_and_says_the_id_it_has_in_the_pipeline(bench) -> None:
    for node in pipeline(bench):
        assert node.factory().id == node.id


def test_a_development_run_ends_before_anything_acts_on_a_release(bench) -> None:
    held = {node.id for node in pipeline(bench, releasing=False) if node.disabled == NEEDS_RELEASE}
    assert held == {"approval_gate", "canary_deploy", "production_deploy", "sla_snapshot"}


def test_nothing_reaches_production_before_every_check(bench) -> None:
    graph = graph_of(pipeline(bench))
    before = graph.ancestors(["canary_deploy"])
    assert before == {*SEED_STAGES[: SEED_STAGES.index("canary_deploy") + 1]}


@pytest.mark.parametrize(
    ("settings", "gated"),
    [
        pytest.param("mine: {command: 'true'}", "build_image", id="anywhere: gates the release"),
        pytest.param(
            "mine: {command: 'true', after: [deploy_staging]}", "approval_gate", id="after staging: the rollout"
        ),
    ],
)
def test_a_stage_of_ones_own_counts(bench, settings: str, gated: str) -> None:
    nodes = {node.id: node for node in pipeline(bench, settings)}
    assert "mine" in nodes[gated].after


def test_a_stage_of_ones_own_after_staging_gets_the_running_service(bench) -> None:
    nodes = {node.id: node for node in pipeline(bench, "mine: {command: 'true', after: [smoke_test]}")}
    assert nodes["mine"].uses == ("deploy_staging",)


def test_a_stage_after_production_gates_nothing(bench) -> None:
    nodes = pipeline(bench, "mine: {command: 'true', after: [production_deploy]}")
    assert not [node.id for node in nodes if "mine" in node.after]


def test_stages_of_ones_own_that_wait_for_each_other_are_told(bench) -> None:
    with pytest.raises(UserError, match="wait for each other"):
        pipeline(bench, "one: {command: 'true', after: [two]}\n    two: {command: 'true', after: [one]}")


def test_a_stage_is_switched_off_with_a_reason_and_not_without(bench) -> None:
    nodes = {node.id: node for node in pipeline(bench, "unit_test: {enabled: false, reason: none yet}")}
    assert nodes["unit_test"].disabled == "disabled: none yet"
    required = required_for_release(load_project(bench.root))
    assert "unit_test" not in required.kinds
    assert required.off == {"unit_test": "none yet"}
    with pytest.raises(ProjectFileError, match="needs a `reason`"):
        pipeline(bench, "unit_test: {enabled: false}")


def test_the_projects_own_list_of_evidence_adds_and_never_takes_away(bench) -> None:
    for settings, added in (("evidence: []", ()), ("evidence: [load_test]", ("load_test",))):
        pipeline(bench, f"build_image: {{{settings}}}")
        project = load_project(bench.root)
        assert required_for_release(project).kinds == (*CHECKS, *added)
        assert required_for_production(project).kinds == (*CHECKS, *REHEARSALS, *added)


def test_stages_of_ones_own_are_asked_for_where_they_gate(bench) -> None:
    early, late, after = (
        f"{name}: {{command: 'true', after: [{stage}]}}"
        for name, stage in (("early", "prepare"), ("late", "smoke_test"), ("after", "production_deploy"))
    )
    pipeline(bench, "\n    ".join((early, late, after)))
    project = load_project(bench.root)
    assert required_for_release(project).kinds == (*CHECKS, "early")
    assert set(required_for_production(project).kinds) == {*CHECKS, *REHEARSALS, "early", "late"}


@pytest.mark.parametrize("stage", [stage for stage in SEED_STAGES if stage != "prepare"])
def test_a_wrong_key_of_any_stage_is_told_with_its_line_before_anything_runs(bench, stage: str) -> None:
    with pytest.raises(ProjectFileError) as caught:
        pipeline(bench, f"{stage}: {{tmeout: 3s}}")
    assert (caught.value.file, caught.value.line) == ("fairway.yaml", 10)


def test_one_changed_byte_of_any_file_runs_every_check_again(bench) -> None:
    bench.commit({"a.py": "x = 1\n", "tests/test_a.py": "", "prompts/p/1.0.0.yaml": "template: a\n"})
    before = {stage: bench.key(stage) for stage in SEED_STAGES[:7]}
    assert len(set(before.values())) == 7
    assert before == {stage: bench.key(stage) for stage in SEED_STAGES[:7]}
    for path in ("a.py", "tests/test_a.py", "prompts/p/1.0.0.yaml"):
        text = (bench.root / path).read_text()
        bench.write({path: text + "#"})
        assert all(bench.key(stage) != before[stage] for stage in before), path
        bench.write({path: text})
    assert before == {stage: bench.key(stage) for stage in SEED_STAGES[:7]}


def test_a_stage_with_declared_inputs_runs_again_only_for_those(bench) -> None:
    settings = "mine: {command: 'true', inputs: ['docs/*']}"
    bench.commit({"a.py": "x = 1\n", "docs/a.md": "a"}, settings=settings)
    before = bench.key("mine")
    bench.write({"a.py": "x = 2\n"})
    assert bench.key("mine") == before
    bench.write({"docs/a.md": "b"})
    assert bench.key("mine") != before


def test_a_stage_that_is_not_to_be_cached_has_no_key(bench) -> None:
    bench.commit(settings="mine: {command: 'true', cache: false}")
    assert bench.key("mine") is None


def test_an_environment_from_a_lock_file_is_named_by_its_content(tmp_path: Path) -> None:
    one, same, other = (environment_interpreter(tmp_path, lock) for lock in (b"a==1", b"a==1", b"a==2"))
    assert one == same
    assert one.python != other.python
    assert one.fingerprint() != other.fingerprint()
    assert not one.is_made


async def test_another_python_never_takes_the_place_of_an_environment_that_is_not_made(bench, tmp_path: Path) -> None:
    bench.commit(settings="mine: {command: [python, -c, 'pass']}")
    bench.interpreter = environment_interpreter(tmp_path, b"a==1")
    with pytest.raises(UserError) as caught:
        await bench.run("mine")
    assert caught.value.code == "no_environment"


def test_a_command_does_not_inherit_what_would_mislead_it() -> None:
    inherited = {"FAIRWAY_RELEASE": "x", "PYTHONPATH": "/elsewhere", "HOME": "/h", "PATH": "/bin"}
    given = Interpreter(path="/opt/bin", python=None).environment(inherited)
    assert given["HOME"] == "/h"
    assert given["PATH"] == "/opt/bin"
    assert "FAIRWAY_RELEASE" not in given
    assert "PYTHONPATH" not in given


def test_the_tree_of_a_bundle_is_its_files_with_modes_and_links(bench, tmp_path: Path) -> None:
    bench.write({"run.sh": "#!/bin/sh\n", "data/a.txt": "a", "tests/test_a.py": ""})
    (bench.root / "run.sh").chmod(0o755)
    (bench.root / "link").symlink_to("data/a.txt")
    bench.commit()
    tree = write_tree(bench.delivery().bundle, tmp_path / "out")
    assert (tree / "run.sh").stat().st_mode & 0o111
    assert (tree / "link").read_text() == "a"
    assert (tree / "tests/test_a.py").exists()
    without = write_tree(bench.delivery().bundle, tmp_path / "release", instrument=False)
    assert not (without / "tests").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside"])
def test_a_link_that_leads_outside_is_refused(bench, tmp_path: Path, target: str) -> None:
    bench.root.joinpath("link").symlink_to(target)
    bench.commit()
    with pytest.raises(FairwayError, match="leads out"):
        write_tree(bench.delivery().bundle, tmp_path / "out")


def test_whether_anything_changed_is_asked_without_loading_anything_heavy() -> None:
    code = "import fairway.stages.options, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"pydantic", "yaml", "sqlalchemy", "rich", "jsonschema", "httpx", "psutil", "cryptography", "asyncio"}
    assert heavy.isdisjoint(loaded), heavy.intersection(loaded)


async def test_a_scan_with_waivers_is_of_one_day_and_one_without_of_any(bench) -> None:
    clock = bench.clock = VirtualClock()
    files = {"policies/waivers.yaml": "waivers: []\n"}
    for waivers, same in (({}, True), (files, False)):
        bench.commit(waivers)
        keys = []
        for _ in range(3):
            keys.append(bench.key("security_scan"))
            await clock.sleep(12 * 3600)
        assert (len(set(keys)) == 1) is same
        assert None not in keys
    assert bench.key("unit_test") == bench.key("unit_test")
