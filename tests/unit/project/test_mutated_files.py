"""However a project's files are broken, the answer is an error a person can act on, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fairway.bundle.lint import lint
from fairway.errors import UserError
from fairway.project.environments import diff_environments
from fairway.project.load import load_project

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**20), max_value=10**20),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["5%", "-1s", "1e9", "yes", "{{", "{% if %}", "latest", "../../etc/passwd", "\x00", "é" * 300]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def use_everything(files: dict[str, bytes]) -> UserError | None:
    """Load, resolve, compare, lint: what the commands do first. Anything but a UserError is a defect."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            project = load_project(root)
            lint(project)
            project.user_stages()
            for environment in project.environments:
                project.overlay(environment)
            diff_environments(project, "staging", "production")
        except UserError as error:
            return error
    return None


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        found.extend(places(child, (*path, key)))
    return found


def mutate(draw: st.DrawFn, document: Any) -> Any:
    for _ in range(draw(st.integers(1, 3))):
        found = places(document)
        if not found:
            return draw(JUNK)
        path = draw(st.sampled_from(found))
        parent = document
        for part in path[:-1]:
            parent = parent[part]
        match draw(st.sampled_from(["junk", "delete", "rename", "swap", "extra"])):
            case "junk":
                parent[path[-1]] = draw(JUNK)
            case "delete":
                del parent[path[-1]]
            case "rename" if isinstance(parent, dict):
                parent[draw(st.text(min_size=1, max_size=8))] = parent.pop(path[-1])
            case "swap":
                other = draw(st.sampled_from(found))
                value = document
                for part in other:
                    value = value[part] if isinstance(value, dict | list) and part in places_of(value) else None
                parent[path[-1]] = yaml.safe_load(yaml.safe_dump(value))
            case _:
                target = parent[path[-1]]
                if isinstance(target, dict):
                    target[draw(st.text(max_size=8))] = draw(JUNK)
    return document


def places_of(value: dict[Any, Any] | list[Any]) -> Any:
    return value.keys() if isinstance(value, dict) else range(len(value))


@st.composite
def structural_mutations(draw: st.DrawFn, files: dict[str, str]) -> dict[str, bytes]:
    broken = {name: text.encode() for name, text in files.items()}
    name = draw(st.sampled_from(sorted(files)))
    document = mutate(draw, yaml.safe_load(files[name]))
    broken[name] = yaml.safe_dump(document, allow_unicode=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return broken


@st.composite
def textual_mutations(draw: st.DrawFn, files: dict[str, str]) -> dict[str, bytes]:
    broken = {name: text.encode() for name, text in files.items()}
    name = draw(st.sampled_from(sorted(files)))
    content = broken[name]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 12)))
        insert = draw(
            st.one_of(st.binary(max_size=6), st.sampled_from([b"\t", b"\n", b"  ", b"{", b"*a", b"&a ", b"- "]))
        )
        content = content[:at] + insert + content[end:]
    broken[name] = content
    return broken


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_structural_edits_never_produce_a_traceback(full_files: dict[str, str], data: st.DataObject) -> None:
    error = use_everything(data.draw(structural_mutations(full_files)))
    event("refused" if error else "accepted")
    assert error is None or (error.code and error.message.strip())


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_edits_of_bytes_never_produce_a_traceback(full_files: dict[str, str], data: st.DataObject) -> None:
    error = use_everything(data.draw(textual_mutations(full_files)))
    event("refused" if error else "accepted")
    assert error is None or (error.code and error.message.strip())


def test_the_unbroken_files_are_used_without_an_error(full_files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in full_files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        project = load_project(Path(folder))
        assert not [finding for finding in lint(project) if finding.severity == "error"]
        for environment in project.environments:
            project.overlay(environment)
