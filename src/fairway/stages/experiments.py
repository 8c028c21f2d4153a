"""Experiments of a project: read and checked against it, and each variant made a derived release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fairway.bundle.environment import EVERY
from fairway.bundle.files import Bundle
from fairway.canonical import value_digest
from fairway.errors import NotFoundError, ProjectFileError
from fairway.evals.experiments.config import EXPERIMENTS_FILE, ExperimentSection, ExperimentsFile, VariantSection
from fairway.evals.suites.yaml_text import to_yaml
from fairway.project.load import PROJECT_FILE, Project, load_project
from fairway.stages.agent_content import AgentContent
from fairway.stages.tree import write_tree
from fairway.units import Digest
from fairway.validate import raise_all, suggest, validate
from fairway.yaml_file import KeyPath, YamlDocument, read_yaml

_LIVE = "live"


def read_experiments(project: Project) -> Mapping[str, ExperimentSection]:
    """The experiments of a project, by name.

    Raises:
        NotFoundError: It has no ``experiments.yaml``.
        ProjectFileError: Each mistake with file, line and key, also what the project does not have.
    """
    document = read_yaml(project.root / EXPERIMENTS_FILE, root=project.root)
    raise_all(_live_ones(document))
    file = validate(ExperimentsFile, document)
    raise_all(
        error
        for name, experiment in file.experiments.items()
        for error in _reference_errors(project, document, name, experiment)
    )
    return file.experiments


def find_experiment(project: Project, name: str) -> ExperimentSection:
    """One experiment.

    Raises:
        NotFoundError: Naming the nearest one.
        ProjectFileError: See :func:`read_experiments`.
    """
    experiments = read_experiments(project)
    if name not in experiments:
        hint = suggest(name, experiments, what="experiments")
        raise NotFoundError(f"there is no experiment {name!r}", code="experiment_not_found", hint=hint)
    return experiments[name]


def _live_ones(document: YamlDocument) -> Iterator[ProjectFileError]:
    """Experiments on users: refused, with what there is instead."""
    value = document.value.get("experiments") if isinstance(document.value, dict) else None
    for name, experiment in value.items() if isinstance(value, dict) else ():
        if isinstance(experiment, dict) and experiment.get(_LIVE):
            yield document.error(
                ("experiments", name, _LIVE),
                "experiments are not run on live traffic: a gateway serves two arms, stable and one candidate",
                of_key=True,
                hint="evaluate the variants here, then roll the better one out as a canary",
            )


def _reference_errors(
    project: Project, document: YamlDocument, name: str, experiment: ExperimentSection
) -> Iterator[ProjectFileError]:
    base: KeyPath = ("experiments", name)
    if experiment.environment not in project.environments:
        hint = suggest(experiment.environment, project.environments, what="environments")
        message = f"there is no environment {experiment.environment!r}"
        yield document.error((*base, "environment"), message, hint=hint)
    for variant, section in experiment.variants.items():
        yield from _variant_errors(project, document, (*base, "variants", variant), section)


def _variant_errors(
    project: Project, document: YamlDocument, base: KeyPath, section: VariantSection
) -> Iterator[ProjectFileError]:
    for prompt, version in section.prompts.items():
        path = (*base, "prompts", prompt)
        if prompt not in project.prompts.names():
            hint = suggest(prompt, project.prompts.names(), what="prompts")
            yield document.error(path, f"there is no prompt {prompt!r}", of_key=True, hint=hint)
        elif version not in project.prompts.versions(prompt):
            hint = suggest(version, project.prompts.versions(prompt), what="versions")
            yield document.error(path, f"prompt {prompt} has no version {version!r}", hint=hint)
    for key, alias in section.models.items():
        path = (*base, "models", key)
        if project.models.alias_of(key) is None:
            hint = suggest(key, project.models.names(), what="aliases")
            yield document.error(path, f"there is no model alias or role {key!r}", of_key=True, hint=hint)
        if alias not in project.models.models:
            hint = suggest(alias, project.models.models, what="aliases")
            yield document.error(path, f"there is no model alias {alias!r}", hint=hint)


def variant_content(
    project: Project, bundle: Bundle, environment: str, name: str, variant: VariantSection, folder: Path
) -> AgentContent:
    """A variant as content of its own: the project's files, with what differs written into ``fairway.yaml``.

    Args:
        project: As it is checked out.
        bundle: Its files.
        environment: That is changed.
        name: Of the variant.
        variant: What differs.
        folder: Not there yet; gets the files.

    Raises:
        FairwayError: The files cannot be read or written.
    """
    write_tree(bundle, folder, instrument=False)
    overrides = variant.overrides()
    if overrides:
        (folder / PROJECT_FILE).write_text(to_yaml(_changed(project, environment, overrides)), encoding="utf-8")
    digest = bundle.digest if not overrides else _derived(bundle, environment, overrides)
    return AgentContent(
        tree=folder,
        project=load_project(folder),
        paths=tuple(file.path for file in bundle.release_files()),
        read=lambda path: (folder / path).read_bytes(),
        agent=project.name,
        release=digest,
        version=name,
    )


def _changed(project: Project, environment: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    value = dict(project.document.value)
    environments = dict(value.get("environments") or {})
    section = dict(environments.get(environment) or {})
    for key, said in overrides.items():
        known = section.get(key)
        if isinstance(known, str) and isinstance(said, dict):
            known = {EVERY: known}  # `prompts: 1.0.0` is short for every prompt
        section[key] = {**known, **said} if isinstance(said, dict) and isinstance(known, dict) else said
    environments[environment] = section
    value["environments"] = environments
    return value


def _derived(bundle: Bundle, environment: str, overrides: Mapping[str, Any]) -> Digest:
    """Of what it is derived from and how it differs; never that of a release anybody cut."""
    digest = value_digest({"from": bundle.digest, "environment": environment, "overrides": dict(overrides)})
    return Digest(f"dev:{digest.removeprefix('dev:')}")
