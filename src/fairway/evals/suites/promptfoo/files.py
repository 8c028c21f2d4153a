"""An import as the files a project gets, and as the text a person reads."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.evals.suites.promptfoo.values import Imported, ImportedSuite, Loss, NotTaken
from fairway.evals.suites.template import variables_in
from fairway.evals.suites.yaml_text import comment, to_yaml

SUITES_FOLDER = "evals/suites"
_WORDS: Mapping[Loss, str] = {
    Loss.CHECK: "not checked yet (a 'todo' that stays unknown until you write it)",
    Loss.CASE: "left out",
    Loss.SETTING: "to know",
}


def import_files(imported: Imported, *, folder: str = SUITES_FOLDER) -> dict[str, str]:
    """What to write, by path inside the project: the suites, and a prompt where a system message came before them."""
    found: dict[str, str] = {}
    for suite in imported.suites:
        found[f"{folder}/{suite.name}.yaml"] = _suite_text(imported, suite)
        if suite.system is not None:
            found[f"prompts/{suite.name}/1.0.0.yaml"] = _prompt_text(suite)
    return found


def _suite_text(imported: Imported, suite: ImportedSuite) -> str:
    lines = [f"Imported from {imported.file}."]
    for target in imported.targets:
        lines.append(f"Provider {target.label}: " + (f"--target {target.target}" if target.target else "no target"))
    if suite.system is not None:
        lines.append(f"What the system says before: prompts/{suite.name}/1.0.0.yaml (--target prompt:{suite.name})")
    lost = [one for one in imported.not_taken if one.loss is not Loss.SETTING]
    lines += ["What was not taken:", *(f"  {told(one)}" for one in lost)] if lost else []
    return comment("\n".join(lines)) + to_yaml(suite.value)


def _prompt_text(suite: ImportedSuite) -> str:
    value = {
        "description": f"What the system says before the cases of the suite {suite.name}.",
        "template": suite.system,
        "variables": dict.fromkeys(sorted(variables_in(suite.system)), "string"),
    }
    return to_yaml(value)


def told(one: NotTaken) -> str:
    """One line about something that was not taken."""
    place = one.file if one.line is None else f"{one.file}:{one.line}"
    times = f" (x{one.cases})" if one.cases > 1 else ""
    return f"{place}: {one.what}: {one.why}{times}"


def import_text(imported: Imported, paths: Mapping[str, str]) -> str:
    """What an import did, for a person: what was written, what is missing, and how to run it."""
    lines = [f"{imported.cases} cases of {imported.file} in {len(imported.suites)} suites"]
    lines += [f"  {path}" for path in paths]
    for loss in Loss:
        found = [one for one in imported.not_taken if one.loss is loss]
        if found:
            lines.append(f"{imported.count(loss)} {_WORDS[loss]}:")
            lines += [f"  {told(one)}" for one in found]
    for suite in imported.suites:
        if suite.system is not None:
            how = f"fairway eval run --target prompt:{suite.name}, with its model in models.yaml"
            lines.append(f"{suite.name} needs what the system says before it: {how}")
    for target in imported.targets:
        ask = f"fairway eval run --target {target.target}" if target.target else "no target"
        lines.append(f"{target.label}: {ask}{f' ({target.note})' if target.note else ''}")
    return "\n".join(lines)
