"""The judge a project names: from an alias of ``models.yaml`` to a client, with its key where the project keeps it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fairway.bundle.overlay import Overlay, ResolvedModel
from fairway.errors import NotFoundError, UserError
from fairway.evals.config import CalibrationSection, JudgeSection
from fairway.evals.judges.settings import DEFAULT_SCALE, HealthRules, JudgeSettings
from fairway.llm.formats import FORMATS, OPENAI, WireFormat
from fairway.llm.values import Endpoint
from fairway.project.load import Project
from fairway.units import Digest
from fairway.validate import suggest

_MOCK = "mock"
_OWN = ("temperature", "top_p", "max_tokens", "max_completion_tokens")
"""Fields that are the judge's own, whatever the agent's alias says; an alias may take one out of the request."""


def judged_by(project: Project, overlay: Overlay, section: JudgeSection) -> ResolvedModel:
    """The model that judges; the first of a panel.

    Raises:
        NotFoundError: The alias or role is not in ``models.yaml``; names the nearest.
    """
    return _model(project, overlay, section.model, "evals.judge.model")


def panel_of(project: Project, overlay: Overlay, section: JudgeSection) -> tuple[ResolvedModel, ...]:
    """The further models that vote.

    Raises:
        NotFoundError: An alias or role is not in ``models.yaml``; names the nearest.
    """
    return tuple(
        _model(project, overlay, name, f"evals.judge.panel[{index}]") for index, name in enumerate(section.panel)
    )


def _model(project: Project, overlay: Overlay, name: str, key: str) -> ResolvedModel:
    alias = overlay.roles.get(name) or project.models.alias_of(name)
    if alias is None or alias not in overlay.models:
        raise NotFoundError(
            f"{key}: there is no model alias or role {name!r}",
            code="model_not_found",
            hint=suggest(name, project.models.names(), what="aliases"),
        )
    return overlay.models[alias]


def judge_scale(section: JudgeSection) -> JudgeSettings:
    """What a grade is worth, as far as ``evals.judge`` alone says it: the models are those of no provider."""
    return JudgeSettings(model=section.model, scale=section.choices or DEFAULT_SCALE, threshold=section.threshold)


def judge_settings(
    section: JudgeSection,
    model: ResolvedModel,
    guidance: bytes | None,
    *,
    panel: Sequence[ResolvedModel] = (),
    calibration_set: Digest | None = None,
) -> JudgeSettings:
    """How the judges grade; part of the instrument.

    Args:
        section: ``evals.judge``.
        model: The model behind its ``model``.
        guidance: Bytes of its ``rubric`` file; ``None``: there is none.
        panel: The models behind its ``panel``.
        calibration_set: Digest of the labelled items; ``None``: there are none.

    Raises:
        UserError: The rubric file is not UTF-8, or two members of the panel are one model.
    """
    try:
        text = guidance.decode("utf-8").strip() if guidance is not None else ""
    except UnicodeDecodeError as error:
        raise UserError(f"{section.rubric} is not UTF-8 text", code="eval_judge") from error
    names = [f"{one.provider}/{one.model}" for one in (model, *panel)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        hint = "a model that votes twice is no second opinion; evals.judge.repeats asks one model again"
        raise UserError(f"evals.judge.panel: {twice} is in the panel twice", code="eval_judge", hint=hint)
    return JudgeSettings(
        model=names[0],
        panel=tuple(names[1:]),
        rule=section.rule,
        guidance=text or None,
        scale=section.choices or DEFAULT_SCALE,
        threshold=section.threshold,
        max_tokens=section.max_tokens,
        repeats=section.repeats,
        health=health_rules(section.calibration) if section.calibration is not None else None,
        calibration_set=calibration_set,
        parameters={
            name: judge_parameters(one)
            for name, one in zip(names, (model, *panel), strict=True)
            if one.provider != _MOCK and judge_parameters(one)
        },
    )


def health_rules(section: CalibrationSection) -> HealthRules:
    """What a judge must show before its grades count."""
    return HealthRules(
        items=section.minimum,
        each=section.each,
        sensitivity=section.sensitivity,
        specificity=section.specificity,
        kappa=section.kappa,
        flip_rate=section.flip_rate,
        repeats=section.repeats,
    )


def judge_format(model: ResolvedModel) -> WireFormat:
    """How a model's provider is spoken to: as OpenAI unless it is known by another name."""
    return FORMATS.get(model.provider, OPENAI)


def judge_parameters(model: ResolvedModel) -> dict[str, Any]:
    """What a model's alias adds to a judge's requests; a judge is asked at temperature 0."""
    return {name: value for name, value in model.parameters.items() if name not in _OWN or value is None}


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
    known = FORMATS.get(model.provider)
    base_url = _resolved(model.base_url, environment) or (known.base_url if known is not None else None)
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
        parameters=judge_parameters(model),
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
