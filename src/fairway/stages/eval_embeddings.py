"""The embedding model a project names: from an alias of ``models.yaml`` to who measures ``similar``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fairway.bundle.overlay import Overlay, ResolvedModel
from fairway.clock import Clock
from fairway.errors import NotFoundError, UserError
from fairway.evals.assertions.embeddings import CountedEmbedder, EmbeddingEndpoint, Similarity
from fairway.evals.config import EmbeddingsSection
from fairway.evals.running.calling import Caller, CallRules
from fairway.evals.running.limiting import AdaptiveLimit
from fairway.evals.running.spend import Pricing, SpendCap
from fairway.http_client.client import HttpClient
from fairway.llm.formats import FORMATS
from fairway.project.load import Project
from fairway.validate import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPlan:
    """Which model embeds.

    Attributes:
        name: ``provider/model``, as the instrument and prices know it.
    """

    section: EmbeddingsSection
    model: ResolvedModel

    @property
    def name(self) -> str:
        """``provider/model``."""
        return f"{self.model.provider}/{self.model.model}"


def plan_embeddings(project: Project, overlay: Overlay) -> EmbeddingPlan | None:
    """The model ``evals.embeddings`` names.

    ``None``, and ``similar`` is unknown: none is configured, or the environment has the mock model in its place, whose
    vectors would mean nothing.

    Raises:
        NotFoundError: The alias or role is not in ``models.yaml``; names the nearest.
    """
    section = project.evals.embeddings
    if section is None:
        return None
    alias = overlay.roles.get(section.model) or project.models.alias_of(section.model)
    if alias is None or alias not in overlay.models:
        raise NotFoundError(
            f"evals.embeddings.model: there is no model alias or role {section.model!r}",
            code="model_not_found",
            hint=suggest(section.model, project.models.names(), what="aliases"),
        )
    model = overlay.models[alias]
    return EmbeddingPlan(section=section, model=model) if model.provider != "mock" else None


def similarity_by(
    plan: EmbeddingPlan,
    http: HttpClient,
    *,
    clock: Clock,
    prices: Pricing,
    concurrency: int,
    spend: SpendCap | None,
    environment: Mapping[str, str] = os.environ,
) -> Similarity:
    """Who measures ``similar``, under the run's limits.

    Args:
        plan: Which model.
        http: A client, which the caller closes.
        clock: Time.
        prices: Of the project's models.
        concurrency: Calls at a time.
        spend: The run's cap; embeddings count.
        environment: Where ``env:NAME`` references are looked up.

    Raises:
        UserError: A key that cannot be resolved, or a provider whose address is not known.
    """
    model = plan.model
    known = FORMATS.get(model.provider)
    base_url = _resolved(model.base_url, environment) or (known.base_url if known is not None else None)
    if base_url is None or model.provider == "anthropic":
        raise UserError(
            f"the embedding model's provider {model.provider!r} has no address that embeds",
            code="eval_embeddings",
            hint="give the alias a base_url in models.yaml that answers POST …/embeddings as OpenAI does",
        )

    def cost(tokens: int) -> int | None:
        return prices.cost_micros(plan.name, tokens, 0)

    endpoint = EmbeddingEndpoint(
        http,
        base_url,
        model.model,
        key=_resolved(model.api_key, environment),
        cost=cost,
        timeout_seconds=plan.section.timeout,
    )
    caller = Caller(limit=AdaptiveLimit(concurrency, clock=clock), rules=CallRules(), clock=clock, spend=spend)
    return Similarity(CountedEmbedder(endpoint, caller, price=cost))


def _resolved(reference: str | None, environment: Mapping[str, str]) -> str | None:
    """A value given by reference; what is no reference is itself."""
    if reference is None or ":" not in reference or reference.startswith(("http://", "https://")):
        return reference
    kind, _, name = reference.partition(":")
    if kind != "env":
        raise UserError(
            f"the embedding model's key {reference} cannot be read here", code="eval_embeddings", hint="use env:NAME"
        )
    value = environment.get(name)
    if not value:
        raise UserError(
            f"the embedding model needs the environment variable {name}",
            code="eval_embeddings",
            hint=f"export {name}=… and run again",
        )
    return value
