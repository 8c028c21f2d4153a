from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fairway.bundle.overlay import resolve
from fairway.bundle.prompts import PromptRegistry
from fairway.errors import NotFoundError, ProjectFileError
from fairway.project.load import load_project
from fairway.scaffold import DEMO_VERSIONS, demo_changes, make_project
from fairway.scaffold.releases import pin_prompt


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_project(tmp_path / "a", commit=False).directory


def test_each_change_adds_locks_and_pins_its_prompt(root: Path) -> None:
    for version in DEMO_VERSIONS:
        change = demo_changes(root, version)
        assert change.version == version
        assert PromptRegistry(root).lock.digest_of("support", version)
        for environment in ("dev", "staging", "production"):
            assert resolve(load_project(root), environment).prompts["support"].version == version
    assert list(PromptRegistry(root).lock.prompts["support"]) == ["1.0.0", *DEMO_VERSIONS]


def test_a_change_touches_prompts_and_pins_only(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    demo_changes(root, "v1.1.0")
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    changed = {str(path.relative_to(root)) for path in after if before.get(path) != after[path]}
    assert changed == {"fairway.yaml", "prompts.lock", "prompts/support/1.1.0.yaml"}
    text = (root / "fairway.yaml").read_text()
    assert text.replace('"1.1.0"', '"1.0.0"') == before[root / "fairway.yaml"].decode()
    demo_changes(root, "1.1.0")
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == after


def test_an_unknown_change_names_the_nearest(root: Path) -> None:
    with pytest.raises(NotFoundError, match=r"1\.1\.9") as caught:
        demo_changes(root, "1.1.9")
    assert "did you mean '1.1.0'" in str(caught.value.hint)


def test_a_project_that_pins_otherwise_is_left_as_it_is(root: Path) -> None:
    config = root / "fairway.yaml"
    config.write_text(config.read_text().replace('prompts: {support: "1.0.0"}', "prompts: locked"))
    with pytest.raises(ProjectFileError, match="staging"):
        demo_changes(root, "1.1.0")
    assert not (root / "prompts" / "support" / "1.1.0.yaml").exists()


def test_pins_are_changed_in_their_environments_only() -> None:
    text = 'environments:\n  staging:\n    # x\n\n    prompts: {support: "1.0.0"} # why\n  production:\n' \
        '    prompts: {support: "1.0.0"}\n  eu:\n    prompts: {support: "1.0.0"}\n'  # fmt: skip
    read = yaml.safe_load(pin_prompt(text, version="2.0.0"))["environments"]
    assert {name: one["prompts"]["support"] for name, one in read.items()} == {
        "staging": "2.0.0",
        "production": "2.0.0",
        "eu": "1.0.0",
    }
    assert "# why" in pin_prompt(text, version="2.0.0")
    with pytest.raises(ProjectFileError, match="production"):
        pin_prompt(
            text.replace('  production:\n    prompts: {support: "1.0.0"}\n', "  production: {}\n"), version="2.0.0"
        )
