"""What a model call costs: prices of ``models.yaml`` and ``costs.prices``; a price nobody declared is unknown.

USD per million tokens are millionths of a dollar per token, so that a price times a number of tokens is in millionths
already; ``Decimal`` keeps it exact, and what remains is rounded up: a call that costs something never costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from fairway.bundle.models import MOCK_PROVIDER, ModelSection, ModelsFile, PriceSection


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens.

    Attributes:
        cached_input: Of input the provider had in its cache; ``None``: not declared, and then charged as other input,
            which is never too little.
        cache_write: Of input the provider charges for keeping; ``None``: not declared, and then unknown, because
            it costs more than other input.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices by every name a model goes by: its alias and roles, its pinned name, ``provider/name``.

    Attributes:
        prices: By name.
        ambiguous: Names that mean models with different prices: unknown until ``costs.prices`` decides.
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    ambiguous: frozenset[str] = frozenset()

    def price(self, model: str) -> Price | None:
        """The price of a model; ``None``: nobody declared one, or two that differ."""
        return self.prices.get(model)

    def cost_micros(self, model: str, tokens_in: int, tokens_out: int, cached: int = 0, written: int = 0) -> int | None:
        """What a call costs, in millionths of a US dollar, rounded up.

        Args:
            model: Any name it goes by.
            tokens_in: Everything sent, what came from the provider's cache included.
            tokens_out: Everything answered, reasoning included.
            cached: Of ``tokens_in``, those the provider charges as cached.
            written: Of ``tokens_in``, those the provider charges for keeping in its cache.

        Returns:
            ``None`` when the price is unknown, and when the counts contradict each other (negative, or more cached
            than sent). Never 0 for want of a price.
        """
        price = self.price(model)
        fresh = tokens_in - cached - written
        if price is None or min(fresh, tokens_out, cached, written) < 0:
            return None
        if written and price.cache_write is None:
            return None
        cached_price = price.input if price.cached_input is None else price.cached_input
        total = fresh * price.input + cached * cached_price + tokens_out * price.output
        total += written * (price.cache_write or Decimal(0))
        return int(total.to_integral_value(ROUND_CEILING))


_FREE = Price(input=Decimal(0), output=Decimal(0), cache_write=Decimal(0))


def price_table(models: ModelsFile, overrides: Mapping[str, PriceSection] | None = None) -> PriceTable:
    """The prices of a project.

    Args:
        models: ``models.yaml``. Fairway's own mock server is free unless a price is declared for it.
        overrides: ``costs.prices``, by any name of a model, also of one that is not in ``models.yaml``; they win.
    """
    overridden = {name: _price(section) for name, section in (overrides or {}).items()}
    pinned: dict[str, set[Price]] = {}
    for model in models.models.values():
        if (price := _declared(model, overridden)) is not None:
            pinned.setdefault(_full_name(model), set()).add(price)
    found: dict[str, set[Price | None]] = {}
    for model in models.models.values():
        same = pinned.get(_full_name(model), {None})
        found.setdefault(_full_name(model), set()).update(same)
        found.setdefault(model.model, set()).update(same)
    for alias, model in models.models.items():  # an alias means one model, whatever else is spelt like it
        own = overridden.get(alias) or _declared(model, overridden)
        found[alias] = set(pinned.get(_full_name(model), {None})) if own is None else {own}
    found |= {role: found[alias] for role, alias in models.roles.items() if alias in found}
    found |= {name: {price} for name, price in overridden.items()}
    single = {name: next(iter(several)) for name, several in found.items() if len(several) == 1}
    return PriceTable(
        prices={name: price for name, price in single.items() if price is not None},
        ambiguous=frozenset(name for name, several in found.items() if len(several) > 1),
    )


def _full_name(model: ModelSection) -> str:
    return f"{model.provider}/{model.model}"


def _declared(model: ModelSection, overridden: Mapping[str, Price]) -> Price | None:
    """What is said of a model itself: the override of its pinned name, its own price, and a mock is free."""
    override = overridden.get(_full_name(model)) or overridden.get(model.model)
    if override is not None:
        return override
    if model.price is not None:
        return _price(model.price)
    return _FREE if model.provider == MOCK_PROVIDER else None


def _price(section: PriceSection) -> Price:
    cached, written = section.cached_input, section.cache_write
    return Price(
        input=Decimal(str(section.input)),
        output=Decimal(str(section.output)),
        cached_input=None if cached is None else Decimal(str(cached)),
        cache_write=None if written is None else Decimal(str(written)),
    )
