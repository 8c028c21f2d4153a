"""Prices: exact, by every name of a model, and never zero for want of one."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.bundle.models import ModelsFile, PriceSection
from fairway.costs.prices import price_table

MODELS = {
    "models": {
        "small": {
            "provider": "openai",
            "model": "gpt-4o-mini-2024-07-18",
            "price": {"input": 0.15, "output": 0.6, "cached_input": 0.075},
        },
        "large": {"provider": "anthropic", "model": "claude-x-20260101", "price": {"input": 3.0, "output": 15.0}},
        "unpriced": {"provider": "openai", "model": "gpt-unknown-2026"},
        "test": {"provider": "mock", "model": "mock-1"},
    },
    "roles": {"judge": "small"},
}


def table(overrides=None, models=MODELS):
    sections = {name: PriceSection(**price) for name, price in (overrides or {}).items()}
    return price_table(ModelsFile.model_validate(models), sections)


@pytest.mark.parametrize("name", ["small", "judge", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18"])
def test_a_price_is_found_by_alias_role_and_pinned_name(name):
    assert table().cost_micros(name, 1000, 500) == 450


def test_cached_tokens_are_part_of_the_input_and_cost_their_own_price():
    assert table().cost_micros("small", 1000, 0, cached=400) == 90 + 30


def test_cached_tokens_without_a_price_cost_as_much_as_others():
    assert table().cost_micros("large", 1000, 0, cached=400) == 3000


@pytest.mark.parametrize("name", ["unpriced", "gpt-unknown-2026", "nobody-knows", ""])
def test_an_unknown_price_is_none_and_not_nothing(name):
    assert table().cost_micros(name, 10, 10) is None


def test_only_fairways_own_mock_costs_nothing():
    assert table().cost_micros("mock-1", 10_000, 10_000) == 0


@pytest.mark.parametrize("counts", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (10, 0, 11)])
def test_counts_that_contradict_each_other_have_no_cost(counts):
    tokens_in, tokens_out, cached = counts
    assert table().cost_micros("small", tokens_in, tokens_out, cached) is None


def test_an_override_wins_by_any_name_and_prices_models_that_are_nowhere_else():
    priced = table({"small": {"input": 1.0, "output": 1.0}, "vendor/odd": {"input": 2.0, "output": 2.0}})
    assert priced.cost_micros("small", 10, 0) == 10
    assert priced.cost_micros("judge", 10, 0) == 10
    assert priced.cost_micros("vendor/odd", 10, 0) == 20


def test_an_override_of_a_pinned_name_holds_for_its_alias():
    assert table({"gpt-unknown-2026": {"input": 5.0, "output": 5.0}}).cost_micros("unpriced", 2, 0) == 10


def test_one_name_with_two_prices_is_unknown_until_somebody_decides():
    models = {
        "models": {
            "a": {"provider": "openai", "model": "same", "price": {"input": 1.0, "output": 1.0}},
            "b": {"provider": "reseller", "model": "same", "price": {"input": 2.0, "output": 2.0}},
        }
    }
    ambiguous = table(models=models)
    assert ambiguous.cost_micros("same", 10, 10) is None
    assert "same" in ambiguous.ambiguous
    assert ambiguous.cost_micros("a", 10, 0) == 10
    assert ambiguous.cost_micros("reseller/same", 10, 0) == 20
    assert table({"same": {"input": 3.0, "output": 3.0}}, models).cost_micros("same", 10, 0) == 30


def test_a_name_shared_with_a_model_nobody_priced_is_unknown():
    models = {
        "models": {
            "a": {"provider": "openai", "model": "same", "price": {"input": 1.0, "output": 1.0}},
            "b": {"provider": "reseller", "model": "same"},
        }
    }
    assert table(models=models).cost_micros("same", 10, 10) is None


@given(
    price=st.decimals(min_value=0, max_value=1000, places=4),
    tokens_in=st.integers(0, 10**7),
    tokens_out=st.integers(0, 10**7),
)
def test_the_cost_is_exact_and_rounded_up(price, tokens_in, tokens_out):
    models = {"models": {"m": {"provider": "p", "model": "m", "price": {"input": float(price), "output": 0.6}}}}
    exact = Fraction(Decimal(str(float(price)))) * tokens_in + Fraction("0.6") * tokens_out
    cost = table(models=models).cost_micros("m", tokens_in, tokens_out)
    assert cost is not None
    assert exact <= cost < exact + 1
