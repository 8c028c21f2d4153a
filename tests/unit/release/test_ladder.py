"""A candidate must have passed the environment before; unknown is never a pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.bundle.environment import DEFAULTS, ApprovalMode, Environment, EnvironmentKind
from fairway.release.ladder import Rung, laxer, not_passed, rungs_below
from fairway.release.required import for_production
from fairway.release.values import Evidence
from fairway.stages.stopwatch import p95_ms
from fairway.testing.virtual_clock import EPOCH
from fairway.units import Digest, EnvironmentName, Verdict

RELEASE, STAGED, SERVED = (Digest("sha256:" + letter * 64) for letter in "abc")
STAGING, PRODUCTION = EnvironmentName("staging"), EnvironmentName("production")
EFFECTIVE = {STAGING: STAGED, PRODUCTION: SERVED}
RUNG = Rung(environment=STAGING, kinds=("smoke_test", "e2e_test"), tool_accuracy=0.95, latency_p95_ms=2000.0)


def found(kind, verdict=Verdict.PASS, **changes):
    base = Evidence(
        kind=kind,
        release=RELEASE,
        verdict=verdict,
        produced_by="test",
        at=EPOCH,
        effective=STAGED,
        environment=STAGING,
    )
    return replace(base, **changes)


SMOKE = found("smoke_test")
E2E = found("e2e_test", figures={"latency_p95_ms": 1200.0})
REGRESSION = found("prompt_regression", effective=None, environment=None, figures={"tool_accuracy": 0.98})
ALL = (SMOKE, E2E, REGRESSION)


def lacks(*evidence, rung=RUNG):
    return not_passed(rung, evidence, release=RELEASE, effective=EFFECTIVE, now=EPOCH + timedelta(hours=1))


def test_a_candidate_that_passed_staging_may_go_on():
    assert lacks(*ALL) == {}


MISSING = [
    ("nothing there", (REGRESSION,), {"smoke_test", "e2e_test", "latency SLA"}),
    (
        "another environment",
        (*ALL[:1], replace(E2E, environment=PRODUCTION, effective=SERVED), REGRESSION),
        {"e2e_test", "latency SLA"},
    ),
    ("another release", (SMOKE, replace(E2E, release=STAGED), REGRESSION), {"e2e_test", "latency SLA"}),
    ("another configuration", (SMOKE, replace(E2E, effective=SERVED), REGRESSION), {"e2e_test", "latency SLA"}),
    ("a newer failure", (*ALL, found("smoke_test", Verdict.FAIL, at=EPOCH + timedelta(minutes=1))), {"smoke_test"}),
    ("from the future", (SMOKE, replace(E2E, at=EPOCH + timedelta(hours=2)), REGRESSION), {"e2e_test", "latency SLA"}),
    ("expired", (SMOKE, replace(E2E, expires=EPOCH + timedelta(minutes=1)), REGRESSION), {"e2e_test", "latency SLA"}),
    ("too slow", (SMOKE, replace(E2E, figures={"latency_p95_ms": 2000.1}), REGRESSION), {"latency SLA"}),
    ("no latency measured", (SMOKE, replace(E2E, figures={"latency_p95_ms": None}), REGRESSION), {"latency SLA"}),
    ("no latency in an old finding", (SMOKE, replace(E2E, figures={}), REGRESSION), {"latency SLA"}),
    ("true is no latency", (SMOKE, replace(E2E, figures={"latency_p95_ms": True}), REGRESSION), {"latency SLA"}),
    ("too few tools", (SMOKE, E2E, replace(REGRESSION, figures={"tool_accuracy": 0.94})), {"tool accuracy"}),
    ("tools not measured", (SMOKE, E2E, replace(REGRESSION, figures={"tool_accuracy": None})), {"tool accuracy"}),
    ("no regression", (SMOKE, E2E), {"tool accuracy"}),
    ("a broken regression", (SMOKE, E2E, replace(REGRESSION, verdict=Verdict.ERROR)), {"tool accuracy"}),
]


@pytest.mark.parametrize(("evidence", "missing"), [row[1:] for row in MISSING], ids=[row[0] for row in MISSING])
def test_what_is_missing_is_named_for(evidence, missing):
    assert set(lacks(*evidence)) == missing


def test_the_sentence_has_both_figures():
    said = lacks(SMOKE, replace(E2E, figures={"latency_p95_ms": 2300.0}), replace(REGRESSION, figures={}))
    assert said == {
        "tool accuracy": "not measured, at least 95.0% is asked",
        "latency SLA": "P95 was 2300 ms, at most 2000 ms is asked",
    }


def test_a_project_with_nothing_to_try_says_so_once_and_for_all_environments():
    nothing = replace(
        found("e2e_test", Verdict.NO_DATA), environment=None, effective=None, figures={"skipped": "no requests"}
    )
    plain = replace(RUNG, latency_p95_ms=None, tool_accuracy=None)
    assert lacks(SMOKE, nothing, rung=plain) == {}
    assert set(lacks(SMOKE, nothing, REGRESSION)) == {"latency SLA"}


def environment(name, kind, after=(), **changes):
    default = DEFAULTS[kind]
    base = Environment(
        name=EnvironmentName(name),
        kind=kind,
        after=tuple(map(EnvironmentName, after)),
        temperature=default.temperature,
        max_tokens=default.max_tokens,
        timeout_seconds=default.timeout_seconds,
        log_level=default.log_level,
        replicas=default.replicas,
        approval=default.approval,
        mock_models=default.mock_models,
        mock_tools=default.mock_tools,
    )
    return replace(base, **changes)


def ladder(**production):
    rungs = (
        environment("test", EnvironmentKind.TEST),
        environment("staging", EnvironmentKind.STAGING, ("test",), latency_p95_seconds=2.0, tool_accuracy=0.95),
        environment("production", EnvironmentKind.PRODUCTION, ("staging",), **production),
    )
    return {one.name: one for one in rungs}


def test_the_rung_below_production_is_staging_with_what_it_asks():
    required = for_production(off={"e2e_test": "the service has no way to be asked"})
    assert rungs_below(ladder(), PRODUCTION, required) == (
        Rung(environment=STAGING, kinds=("smoke_test",), tool_accuracy=0.95, latency_p95_ms=2000.0),
    )
    assert rungs_below(ladder(), STAGING, required) == ()  # test runs checks, it rehearses nothing


LAXER = [
    ({"latency_p95_seconds": 2.5}, ["latency_sla"]),
    ({"latency_p95_seconds": 2.0}, []),
    ({"tool_accuracy": 0.9}, ["tool_accuracy"]),
    ({"tool_accuracy": 0.99, "latency_p95_seconds": 1.0}, []),
    ({}, []),
]


@pytest.mark.parametrize(("production", "settings"), LAXER)
def test_production_is_never_laxer_than_staging(production, settings):
    found_ = laxer(ladder(**production))
    assert [one.setting for one in found_] == settings
    assert all((one.environment, one.before) == (PRODUCTION, STAGING) for one in found_)


def test_dropping_an_approval_that_staging_asks_for_is_laxer_when_somebody_wrote_it():
    rungs = ladder(approval=ApprovalMode.AUTOMATIC, declared=frozenset({"approval"}))
    rungs[STAGING] = replace(rungs[STAGING], approval=ApprovalMode.REQUIRED)
    assert [one.setting for one in laxer(rungs)] == ["approval"]


@pytest.mark.parametrize(
    ("seconds", "p95"), [([], None), ([0.2], 200.0), ([0.1, 0.3], 300.0), ([n / 100 for n in range(1, 101)], 950.0)]
)
def test_p95_is_the_nearest_rank_and_of_few_requests_the_slowest(seconds, p95):
    assert p95_ms(seconds) == p95
