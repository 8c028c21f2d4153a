"""Reading the bundle: by hand, and as Fairway hands it over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jinja2
import pytest

from support.bundle import PROJECT, BundleError, load_bundle, render

MOCK = {"FAIRWAY_MOCK_LLM_URL": "http://127.0.0.1:9/v1"}


def handed_over(folder: Path, **changes: object) -> dict[str, str]:
    """A bundle as Fairway lays it out, and the environment that names it."""
    shutil.copytree(PROJECT / "prompts", folder / "prompts")
    shutil.copy(PROJECT / "tools.yaml", folder)
    effective: dict[str, object] = {
        "environment": "production",
        "release": "sha256:aa",
        "effective": "sha256:bb",
        "prompts": {"support": {"version": "1.0.0", "path": "prompts/support/1.0.0.yaml"}},
        "models": {"full": {"provider": "openai", "model": "m-1", "base_url": None, "api_key": "env:MY_KEY"}},
        "roles": {"orchestrator": "full"},
        "tools": {"lookup_order": {"enabled": True, "risk": "low", "mock": False, "timeout_seconds": 5.0}},
        "settings": {"temperature": 0.0, "max_tokens": 100, "timeout_seconds": 60.0, "log_level": "WARNING"},
        **changes,
    }
    (folder / "effective.json").write_text(json.dumps(effective))
    return {"FAIRWAY_BUNDLE": str(folder)}


def test_by_hand_the_newest_prompt_and_every_tool_are_used() -> None:
    bundle = load_bundle(MOCK)
    assert (bundle.environment, bundle.model.base_url) == ("dev", MOCK["FAIRWAY_MOCK_LLM_URL"])
    assert len(bundle.tools) == 4
    assert "{{" not in bundle.system_prompt


def test_what_fairway_resolved_is_what_is_served(tmp_path: Path) -> None:
    key = "k" * 8
    bundle = load_bundle(handed_over(tmp_path) | {"MY_KEY": key})
    assert (bundle.release, bundle.effective, bundle.prompt_version) == ("sha256:aa", "sha256:bb", "1.0.0")
    assert (bundle.model.model, bundle.model.api_key, bundle.model.timeout_seconds) == ("m-1", key, 60.0)
    assert bundle.model.parameters == {"temperature": 0.0, "max_tokens": 100}
    assert [tool.name for tool in bundle.tools] == ["lookup_order"]


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="MY_KEY"):
        load_bundle(handed_over(tmp_path))


def test_a_mock_model_needs_its_address() -> None:
    with pytest.raises(BundleError, match="FAIRWAY_MOCK_LLM_URL"):
        load_bundle({})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"effective\.json is missing"):
        load_bundle({"FAIRWAY_BUNDLE": str(tmp_path)})


def test_a_variable_without_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="name"):
        render({"template": "I am {{ name }}.", "variables": {"name": {"type": "string"}}})
