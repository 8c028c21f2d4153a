"""Prompts: found by path, immutable once locked, picked by channel, rendered strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairway.bundle.environment import EnvironmentKind
from fairway.bundle.prompts import PromptRegistry, is_channel, prompt_digest, version_key, write_lock
from fairway.bundle.rendering import inspect_template, parse_value, render
from fairway.errors import NotFoundError, ProjectFileError, RefusedError, UserError

PROMPT = "template: Hi {{ name }}\nvariables: {name: string}\n"


def write(root: Path, files: dict[str, str]) -> PromptRegistry:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return PromptRegistry(root)


def versions(*names: str) -> dict[str, str]:
    return {f"prompts/support/{name}.yaml": f"{PROMPT}description: {name}\n" for name in names}


def test_versions_are_sorted_by_meaning_not_by_text(tmp_path: Path) -> None:
    registry = write(tmp_path, versions("1.10.0", "1.9.0", "2.0.0-rc1", "2.0.0-rc.10", "2.0.0"))
    assert registry.versions("support") == ("1.9.0", "1.10.0", "2.0.0-rc.10", "2.0.0-rc1", "2.0.0")


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)), max_size=6))
def test_the_order_of_versions_is_that_of_their_numbers(numbers: list[tuple[int, int, int]]) -> None:
    texts = [".".join(map(str, number)) for number in numbers]
    assert sorted(texts, key=version_key) == [".".join(map(str, number)) for number in sorted(numbers)]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("prompts/support.yaml", "prompts/<name>/<version>.yaml"),
        ("prompts/support/v1.yaml", "named by its version"),
        ("prompts/support/01.0.0.yaml", "named by its version"),
        ("prompts/support/1.0.0.yml", "named by its version"),
        ("prompts/Support/1.0.0.yaml", "prompts/<name>/<version>.yaml"),
        ("prompts/a/b/1.0.0.yaml", "prompts/<name>/<version>.yaml"),
    ],
)
def test_a_yaml_file_that_is_no_version_is_named(tmp_path: Path, path: str, why: str) -> None:
    registry = write(tmp_path, {path: PROMPT})
    assert registry.names() == ()
    ((found, said),) = registry.misplaced
    assert found == path
    assert why in said


def test_a_prompt_that_contradicts_its_path_is_refused(tmp_path: Path) -> None:
    registry = write(tmp_path, {"prompts/support/1.0.0.yaml": PROMPT + "version: 1.1.0\n"})
    with pytest.raises(
        ProjectFileError, match=r"1\.0\.0\.yaml:3:10: version: is '1\.1\.0', but the path says '1\.0\.0'"
    ):
        registry.get("support", "1.0.0")


def test_unknown_prompts_and_versions_name_what_there_is(tmp_path: Path) -> None:
    registry = write(tmp_path, versions("1.0.0", "1.1.0"))
    with pytest.raises(NotFoundError, match="did you mean 'support'"):
        registry.versions("suport")
    with pytest.raises(NotFoundError, match=r"versions: 1\.0\.0, 1\.1\.0"):
        registry.get("support", "3.0.0")


# -- lock -------------------------------------------------------------------------------------------------------------


def test_locking_writes_every_version_once(tmp_path: Path) -> None:
    registry = write(tmp_path, versions("1.0.0", "1.1.0"))
    assert write_lock(tmp_path, registry) == ("support@1.0.0", "support@1.1.0")
    written = (tmp_path / "prompts.lock").read_bytes()
    assert yaml.safe_load(written) == {
        "version": 1,
        "prompts": {"support": {v: registry.sha256("support", v) for v in ("1.0.0", "1.1.0")}},
    }
    assert write_lock(tmp_path, PromptRegistry(tmp_path)) == ()
    assert (tmp_path / "prompts.lock").read_bytes() == written


def test_a_locked_version_that_changed_is_never_locked_again(tmp_path: Path) -> None:
    registry = write(tmp_path, versions("1.0.0"))
    write_lock(tmp_path, registry)
    before = (tmp_path / "prompts.lock").read_bytes()
    registry = write(tmp_path, {"prompts/support/1.0.0.yaml": PROMPT + "# edited\n", **versions("1.1.0")})
    with pytest.raises(ProjectFileError, match="a released version never changes") as caught:
        write_lock(tmp_path, registry)
    assert caught.value.code == "prompt_changed"
    assert (tmp_path / "prompts.lock").read_bytes() == before


def test_a_broken_prompt_is_not_locked_and_nothing_is_half_written(tmp_path: Path) -> None:
    registry = write(tmp_path, {**versions("1.0.0"), "prompts/support/1.1.0.yaml": "template: ["})
    with pytest.raises(ProjectFileError):
        write_lock(tmp_path, registry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompts"]


def test_the_digest_does_not_depend_on_line_ends() -> None:
    assert prompt_digest(b"a\r\nb\r\n") == prompt_digest(b"a\nb\n") != prompt_digest(b"a\nb")


@pytest.mark.parametrize(
    "text",
    [
        "version: 2\n",
        "prompts: {}\n",
        "version: 1\nprompts: {support: {'1.0.0': md5}}\n",
        f"version: 1\nprompts: {{a: {{x: 'sha256:{'0' * 64}'}}}}",
        "[]",
    ],
)
def test_a_wrong_lock_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProjectFileError, match=r"prompts\.lock"):
        _ = write(tmp_path, {"prompts.lock": text}).lock


# -- channels ---------------------------------------------------------------------------------------------------------

DEV, TEST, STAGING, PRODUCTION = EnvironmentKind


@pytest.fixture
def registry(tmp_path: Path) -> PromptRegistry:
    made = write(tmp_path, versions("1.0.0", "1.1.0", "1.2.0-rc1"))
    write_lock(tmp_path, made)
    return write(tmp_path, versions("2.0.0"))


@pytest.mark.parametrize(
    ("channel", "kind", "version"),
    [
        ("1.0.0", PRODUCTION, "1.0.0"),
        ("staging-1.1.0", STAGING, "1.1.0"),
        ("prod-1.0.0", PRODUCTION, "1.0.0"),
        ("production-1.0.0", PRODUCTION, "1.0.0"),
        ("latest", DEV, "2.0.0"),
        ("dev-latest", DEV, "2.0.0"),
        ("locked", PRODUCTION, "1.1.0"),  # the highest locked one that is no pre-release
        ("1.2.0-rc1", STAGING, "1.2.0-rc1"),
    ],
)
def test_a_channel_means_a_version(registry: PromptRegistry, channel: str, kind: EnvironmentKind, version: str) -> None:
    assert registry.resolve("support", channel, kind) == version


@pytest.mark.parametrize("kind", [TEST, STAGING, PRODUCTION])
def test_latest_is_for_dev_only(registry: PromptRegistry, kind: EnvironmentKind) -> None:
    with pytest.raises(RefusedError, match="for dev only"):
        registry.resolve("support", "latest", kind)


def test_a_channel_of_another_environment_is_refused(registry: PromptRegistry) -> None:
    with pytest.raises(RefusedError, match="for staging, not for production"):
        registry.resolve("support", "staging-1.0.0", PRODUCTION)


def test_nothing_locked_is_told_with_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="fairway prompt lock"):
        write(tmp_path, versions("1.0.0")).resolve("support", "locked", PRODUCTION)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("latest", True),
        ("dev-latest", True),
        ("prod-1.0.0", True),
        ("locked", True),
        ("1.0", False),
        ("best", False),
        ("", False),
    ],
)
def test_what_a_channel_can_be(text: str, holds: bool) -> None:
    assert is_channel(text) is holds


# -- templates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "variables"),
    [
        ("Hi {{ name }}", {"name": 1}),
        ("a\nb {{ x }}\n{{ x }} {{ y }}", {"x": 2, "y": 3}),
        ("{% for item in items %}{{ item }} {{ loop.index }}{% endfor %}", {"items": 1}),
        ("{% set a = b %}{{ a }}{{ range(3) }}", {"b": 1}),
        ("{% raw %}{{ no }}{% endraw %}", {}),
        ('Answer as {"order": {"id": {{ id }}}} or {"a": {"b": true}}', {"id": 1}),
    ],
)
def test_the_variables_of_a_template_are_found_with_their_line(template: str, variables: dict[str, int]) -> None:
    use = inspect_template(template)
    assert use.variables == variables
    assert use.problems == ()


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("Hi {{ name", 1),
        ("one\nHi {{ name }", 2),
        ("one\ntwo {name}}", 2),
        ("{% if a %}never closed", 1),
        ("{{ name | nofilter }}", 1),
        ("{{ }}", 1),
        ("a\n{% include 'x' %}", 2),
        ("x }} y", 1),
    ],
)
def test_what_is_unclosed_is_found_with_its_line(template: str, line: int) -> None:
    (problem,) = inspect_template(template).problems
    assert problem.line == line


@given(st.text(alphabet="{}%# abn|.()[]'\"\n", max_size=40))
def test_no_template_makes_inspection_fail(template: str) -> None:
    inspect_template(template)


RENDER = """\
template: "{{ shop }}: {{ question }} {{ count + 1 }}"
variables:
  shop: {type: string, default: Harbour}
  question: string
  count: integer
"""


def rendered(root: Path, values: dict[str, object], text: str = RENDER) -> str:
    return render(write(root, {"prompts/p/1.0.0.yaml": text}).get("p", "1.0.0"), values)


def test_a_prompt_is_rendered_with_its_defaults(tmp_path: Path) -> None:
    assert rendered(tmp_path, {"question": "<b>?</b>", "count": 1}) == "Harbour: <b>?</b> 2"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"count": 1}, "needs the variable 'question'"),
        ({"question": "?", "count": 1, "shp": "x"}, "did you mean 'shop'"),
        ({"question": 3, "count": 1}, "'question' must be a string"),
        ({"question": "?", "count": True}, "'count' must be a integer"),
    ],
)
def test_a_wrong_variable_is_told(tmp_path: Path, values: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        rendered(tmp_path, values)


@pytest.mark.parametrize(
    "template",
    [
        "{{ x.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ x.missing }}",
        "{{ undeclared }}",
        "{{ 1 / 0 }}",
        "{{ items.append(1) }}",
        "{% include '/etc/passwd' %}",
        "{{ range(999999999) | list }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(tmp_path: Path, template: str) -> None:
    text = yaml.safe_dump({"template": template, "variables": {"x": "string", "items": "list"}})
    with pytest.raises(UserError) as caught:
        rendered(tmp_path, {"x": "v", "items": []}, text)
    assert caught.value.code == "prompt_render"


def test_values_from_a_command_line_have_their_type() -> None:
    from fairway.bundle.prompts import VariableType

    assert parse_value("12", VariableType.INTEGER) == 12
    assert parse_value("12", VariableType.STRING) == "12"
    assert parse_value('["a"]', VariableType.LIST) == ["a"]
    with pytest.raises(ValueError, match="not a integer"):
        parse_value("true", VariableType.INTEGER)
