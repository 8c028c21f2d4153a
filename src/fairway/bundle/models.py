"""``models.yaml``: aliases of pinned models, and the roles they play."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, model_validator

from fairway.section import Duration, Positive, SecretReference, Section, Text
from fairway.validate import raise_all, suggest, validate
from fairway.yaml_file import YamlDocument

MODELS_FILE = "models.yaml"
MOCK_PROVIDER = "mock"
_ALIAS = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_FLOATING = re.compile(r"(^|[-:/@.])latest$", re.IGNORECASE)

AliasName = Annotated[str, Field(pattern=_ALIAS)]
Price = Annotated[float, Field(strict=True, ge=0, le=1e6)]


def _base_url(text: str) -> str:
    if not re.match(r"^(https?://[^\s@]+|env:[A-Za-z_][A-Za-z0-9_]*)$", text):
        raise ValueError("expected a URL such as https://api.example.com/v1, without a user or password, or env:NAME")
    return text


class PriceSection(Section):
    """USD per million tokens.

    Attributes:
        cached_input: Of input that came from the provider's cache; ``None``: charged as other input.
        cache_write: Of input the provider charges for keeping; ``None``: not known.
    """

    input: Price
    output: Price
    cached_input: Price | None = None
    cache_write: Price | None = None


class ModelSection(Section):
    """One model.

    Attributes:
        provider: ``openai`` (and what speaks its protocol), ``anthropic``, … or ``mock``: Fairway's own server.
        model: The pinned name; one that ends in ``latest`` floats and is refused outside dev.
        base_url: ``None``: the provider's own.
        api_key: By reference (``env:OPENAI_API_KEY``), never the key.
        fallback: Aliases tried in order when this one does not answer.
        tier: For routing: ``small``, ``large`` …
    """

    provider: Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    model: Annotated[str, Field(strict=True, min_length=1, max_length=256)]
    base_url: Annotated[str, Field(strict=True), AfterValidator(_base_url)] | None = None
    api_key: SecretReference | None = None
    parameters: Mapping[str, JsonValue] = {}
    price: PriceSection | None = None
    context_window: Positive | None = None
    max_output: Positive | None = None
    timeout: Duration | None = None
    fallback: tuple[Text, ...] = ()
    tier: Text | None = None
    description: Text = ""

    @property
    def floating(self) -> bool:
        """Whether the name moves under one's feet."""
        return self.provider != MOCK_PROVIDER and bool(_FLOATING.search(self.model))


class ModelsFile(Section):
    """The whole file.

    Attributes:
        roles: ``{role: alias}``, for example ``orchestrator``, ``classifier``, ``reasoning``.
    """

    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    models: Mapping[AliasName, ModelSection] = {}
    roles: Mapping[AliasName, Text] = {}

    @model_validator(mode="after")
    def _distinct(self) -> ModelsFile:
        for role, alias in self.roles.items():
            if role in self.models and alias != role:
                raise ValueError(f"{role!r} is both a role and an alias; rename one")
        return self

    def alias_of(self, name: str) -> str | None:
        """The alias a role or alias means; ``None`` when it is neither."""
        return name if name in self.models else self.roles.get(name)

    def names(self) -> tuple[str, ...]:
        """Aliases and roles: what a prompt or a judge can name."""
        return tuple(dict.fromkeys((*self.models, *self.roles)))


def read_models(document: YamlDocument) -> ModelsFile:
    """The models of a document.

    Raises:
        ProjectFileError: Naming each mistake, references between aliases included.
    """
    file = validate(ModelsFile, document)
    errors = []
    for role, alias in file.roles.items():
        if alias not in file.models:
            hint = suggest(alias, file.models, what="aliases")
            errors.append(document.error(("roles", role), f"there is no model alias {alias!r}", hint=hint))
    for name, model in file.models.items():
        for index, alias in enumerate(model.fallback):
            path = ("models", name, "fallback", index)
            if alias not in file.models:
                hint = suggest(alias, file.models, what="aliases")
                errors.append(document.error(path, f"there is no model alias {alias!r}", hint=hint))
            elif alias == name:
                errors.append(document.error(path, "a model cannot fall back to itself"))
    raise_all(errors)
    return file
