"""The judge a project names: from an alias of ``models.yaml`` to a client, with its key where the project keeps it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fairway.bundle.overlay import Overlay, ResolvedModel
from fairway.errors import NotFoundError, UserError
from fairway.evals.config import JudgeSection
from fairway.evals.judges.settings import JudgeSettings
from fairway.llm.client import Endpoint
from fairway.project.load import Project
from fairway.validate import suggest

_MOCK = "mock"
_KNOWN_URLS = {"openai": "https://api.openai.com/v1"}


def judged_by(project: Project, overlay: Overlay, section: JudgeSection) -> ResolvedModel:
    """The model that judges.

    Raises:
        NotFoundError: The alias or role is not in ``models.yaml``; names the nearest.
    """
    alias = overlay.roles.get(section.model) or project.models.alias_of(section.model)
    if alias is None or alias not in overlay.models:
        raise NotFoundError(
            f"evals.judge.model: there is no model alias or role {section.model!r}",
            code="model_not_found",
            hint=suggest(section.model, project.models.names(), what="aliases"),
        )
    return overlay.models[alias]


def judge_settings(section: JudgeSection, model: ResolvedModel, guidance: bytes | None) -> JudgeSettings:
    """How the judge grades; part of the instrument.

    Raises:
        UserError: The rubric file is not UTF-8.
    """
    try:
        text = guidance.decode("utf-8").strip() if guidance is not None else ""
    except UnicodeDecodeError as error:
        raise UserError(f"{section.rubric} is not UTF-8 text", code="eval_judge") from error
    return JudgeSettings(
        model=f"{model.provider}/{model.model}",
        guidance=text or None,
        threshold=section.threshold,
        max_tokens=section.max_tokens,
        repeats=section.repeats,
    )


def judge_endpoint(
    section: JudgeSection,
    model: ResolvedModel,
    *,
    mock_url: str | None,
    environment: Mapping[str, str] = os.environ,
) -> Endpoint:
    """Where the judge is asked.

    Args:
        section: Its settings.
        model: The model behind the alias.
        mock_url: ``…/v1`` of the mock model server, when one runs.
        environment: Where ``env:NAME`` references are looked up.

    Raises:
        UserError: A reference that cannot be resolved, or a provider whose address is not known.
    """
    if model.provider == _MOCK:
        if mock_url is None:
            raise UserError(
                "the judge is the mock model, and no mock model runs in this environment",
                code="eval_judge",
                hint="set evals.environment to one that uses the mock model, or name another judge",
            )
        return Endpoint(base_url=mock_url, model=model.model, timeout_seconds=section.timeout)
    base_url = _resolved(model.base_url, environment) or _KNOWN_URLS.get(model.provider)
    if base_url is None:
        raise UserError(
            f"the judge's provider {model.provider!r} has no base_url",
            code="eval_judge",
            hint="give the alias a base_url in models.yaml that speaks OpenAI's chat completions",
        )
    return Endpoint(
        base_url=base_url,
        model=model.model,
        api_key=_resolved(model.api_key, environment),
        timeout_seconds=section.timeout,
    )


def _resolved(reference: str | None, environment: Mapping[str, str]) -> str | None:
    if reference is None or not reference.startswith("env:"):
        if reference is not None and reference.split(":", 1)[0] in ("file", "sops", "vault", "k8s", "aws-sm"):
            raise UserError(f"the judge's key {reference} cannot be read here", code="eval_judge", hint="use env:NAME")
        return reference
    name = reference.removeprefix("env:")
    value = environment.get(name)
    if not value:
        raise UserError(
            f"the judge needs the environment variable {name}", code="eval_judge", hint=f"export {name}=… and run again"
        )
    return value
