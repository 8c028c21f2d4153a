"""Judges without a project: models named on the command line, asked as a project's are."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from fairway.clock import SystemClock
from fairway.costs.prices import PriceTable
from fairway.errors import UserError
from fairway.evals.judges.client import CountedClient
from fairway.evals.judges.judge import JudgeMember, JudgePanel
from fairway.evals.judges.nonces import load_nonces
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.running.calling import Caller, CallRules
from fairway.evals.running.limiting import AdaptiveLimit
from fairway.evals.subjects.open import model_endpoint
from fairway.llm.client import HttpModelClient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from fairway.evals.judges.kept import AnswerCache
    from fairway.evals.running.spend import SpendCap
    from fairway.llm.formats import WireFormat
    from fairway.llm.values import Endpoint
    from fairway.state_dir import StateDir

_TIMEOUT_SECONDS = 60.0


def bare_judge_settings(judges: Sequence[str]) -> JudgeSettings:
    """How the judges of ``--judge`` grade; one or more.

    Raises:
        UserError: One is no model, or there twice.
    """
    names = [_name(*_endpoint(text)) for text in judges]
    if len(set(names)) != len(names):
        raise UserError("--judge names the same model twice", code="eval_judge", hint="a panel has each model once")
    return JudgeSettings(model=names[0], panel=tuple(names[1:]))


async def seat_bare_judges(
    judges: Sequence[str],
    stack: AsyncExitStack,
    *,
    state: StateDir,
    concurrency: int,
    spend: SpendCap | None,
    cache: AnswerCache | None,
) -> JudgePanel:
    """The panel of ``--judge``, ready to be asked. Nobody knows its prices: a spend cap refuses it.

    Raises:
        UserError: A judge is no model, or its key is not there.
    """
    clock = SystemClock()
    members: list[JudgeMember] = []
    for text in judges:
        wire, endpoint = _endpoint(text)
        client = await stack.enter_async_context(HttpModelClient(replace(endpoint, attempts=1), wire, clock=clock))
        caller = Caller(limit=AdaptiveLimit(concurrency, clock=clock), rules=CallRules(), clock=clock, spend=spend)
        counted = CountedClient(client, caller, model=endpoint.model, prices=PriceTable())
        identity = {"base_url": endpoint.base_url, "model": endpoint.model, "format": wire.name}
        name = _name(wire, endpoint)
        members.append(JudgeMember(model=name, client=counted, cost_micros=counted.cost_of, identity=identity))
    return JudgePanel(members, bare_judge_settings(judges), nonces=load_nonces(state), cache=cache)


def _endpoint(text: str) -> tuple[WireFormat, Endpoint]:
    return model_endpoint(text, timeout_seconds=_TIMEOUT_SECONDS, environment=os.environ)


def _name(wire: WireFormat, endpoint: Endpoint) -> str:
    return f"{wire.name}/{endpoint.model}"
