"""The releases the demo ships after the first: what a developer would change for each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fairway.bundle.prompts import PromptRegistry, write_lock
from fairway.errors import NotFoundError, ProjectFileError
from fairway.validate import suggest

PROMPT = "support"
PINNED_IN = ("staging", "production")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoChange:
    """One change of the demo: a prompt version and what comes of it."""

    version: str
    message: str
    expected: str


_CHANGES = (
    DemoChange(
        version="1.1.0",
        message="Prompt 1.1.0: answer in two sentences, call tools together",
        expected="passes every stage, is better on live traffic, is promoted",
    ),
    DemoChange(
        version="1.2.0",
        message="Prompt 1.2.0: leave out the steps of an exchange",
        expected="passes every case of the suite, fails exchanges on live traffic, is rolled back",
    ),
    DemoChange(
        version="1.3.0",
        message="Prompt 1.3.0: refunds without friction",
        expected="promises refunds before looking up the order: stopped by prompt regression",
    ),
)
DEMO_VERSIONS = tuple(change.version for change in _CHANGES)


def demo_changes(root: Path, version: str) -> DemoChange:
    """Apply one change to a project made from the plain template; committing is the caller's.

    Adds the prompt's file, locks it, and pins it for staging and production in ``fairway.yaml``. Applying a change
    again changes nothing.

    Args:
        root: Folder of the project.
        version: ``1.1.0``, ``1.2.0`` or ``1.3.0``; a ``v`` in front is allowed.

    Raises:
        NotFoundError: There is no such change.
        ProjectFileError: ``fairway.yaml`` does not pin the prompt as the template does.
    """
    wanted = version.removeprefix("v")
    change = next((one for one in _CHANGES if one.version == wanted), None)
    if change is None:
        raise NotFoundError(f"the demo has no change {version!r}", hint=suggest(wanted, DEMO_VERSIONS, what="changes"))
    config = root / "fairway.yaml"
    pinned = pin_prompt(config.read_text("utf-8"), version=change.version)
    source = files("fairway.scaffold") / "templates" / "plain_releases" / f"{change.version}.yaml"
    target = root / "prompts" / PROMPT / f"{change.version}.yaml"
    target.write_bytes(source.read_bytes())
    write_lock(root, PromptRegistry(root))
    config.write_text(pinned, "utf-8")
    return change


def pin_prompt(text: str, *, version: str) -> str:
    """The text of ``fairway.yaml`` with another version of the prompt in staging and production; comments stay.

    Raises:
        ProjectFileError: An environment does not pin the prompt on a line of its own.
    """
    for environment in PINNED_IN:
        pattern = re.compile(
            rf"(?ms)^(  {environment}:\n(?:    [^\n]*\n|\n)*?    prompts: \{{{PROMPT}: \")[^\"\n]*(\"\}})"
        )
        text, count = pattern.subn(rf"\g<1>{version}\g<2>", text, count=1)
        if count != 1:
            raise ProjectFileError(
                f'expected a line such as prompts: {{{PROMPT}: "{version}"}}',
                file="fairway.yaml",
                key=f"environments.{environment}.prompts",
            )
    return text
