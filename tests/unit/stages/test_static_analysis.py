from __future__ import annotations

from fairway.pipeline.port import StageStatus


async def test_sound_files_pass_and_nothing_is_written_beside_them(bench) -> None:
    bench.commit({"app.py": "x = 1\n", "deploy.yaml": "a: [1, 2]\n"})
    outcome = await bench.run("static_analysis")
    assert outcome.status is StageStatus.PASSED
    assert not list(bench.root.rglob("__pycache__"))
    assert not list(bench.folder.rglob("__pycache__"))


async def test_a_syntax_error_fails_with_file_and_line(bench) -> None:
    bench.commit({"pkg/app.py": "x = 1\ndef f(:\n    pass\n"})
    outcome = await bench.run("static_analysis")
    assert outcome.status is StageStatus.FAILED
    finding = outcome.findings[0]
    assert (finding.rule, finding.file, finding.line) == ("python/compile", "pkg/app.py", 2)


async def test_broken_yaml_fails_with_file_and_line_and_can_be_excluded(bench) -> None:
    files = {"chart/values.yaml": "a: 1\nb: [1, 2\n"}
    bench.commit(files)
    outcome = await bench.run("static_analysis")
    assert outcome.status is StageStatus.FAILED
    assert (outcome.findings[0].rule, outcome.findings[0].file) == ("yaml/syntax", "chart/values.yaml")
    bench.commit(files, settings="static_analysis: {exclude: ['chart/*']}")
    assert (await bench.run("static_analysis")).status is StageStatus.PASSED


async def test_a_prompt_with_an_undefined_variable_fails(bench) -> None:
    bench.commit(
        {
            "prompts/system/1.0.0.yaml": "template: 'Help {{ custommer }}.'\nvariables: {customer: {type: string}}\n",
            "models.yaml": "version: 1\nmodels: {main: {provider: mock, model: m1}}\nroles: {orchestrator: main}\n",
        }
    )
    outcome = await bench.run("static_analysis")
    assert outcome.status is StageStatus.FAILED
    assert any(finding.rule.startswith("prompt/") for finding in outcome.findings)


async def test_ruff_runs_where_the_project_configures_it(bench) -> None:
    files = {"app.py": "import os\n"}
    bench.commit(files)
    assert (await bench.run("static_analysis")).status is StageStatus.PASSED
    bench.commit({**files, "ruff.toml": "lint.select = ['F']\n"})
    outcome = await bench.run("static_analysis")
    assert outcome.status is StageStatus.FAILED
    assert [(finding.rule, finding.file, finding.line) for finding in outcome.findings] == [("F401", "app.py", 1)]


async def test_ruff_that_cannot_be_asked_is_an_error_and_not_a_pass(bench, venv) -> None:
    bench.commit({"app.py": "x = 1\n", "ruff.toml": "lint.select = ['F']\n"})
    bench.interpreter = venv({})
    outcome = await bench.run("static_analysis")
    assert outcome.status is StageStatus.ERROR
    assert "ruff" in outcome.summary


async def test_the_committed_files_are_checked_not_what_stands_in_ignored_folders(bench) -> None:
    bench.commit({"app.py": "x = 1\n", ".gitignore": "scratch/\n"})
    bench.write({"scratch/broken.py": "def ("})
    assert (await bench.run("static_analysis")).status is StageStatus.PASSED
