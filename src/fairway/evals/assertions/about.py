"""What a script or a webhook is told about a trial, as JSON."""

from __future__ import annotations

from typing import Any

from fairway.evals.assertions.tool_report import calls_json
from fairway.evals.plain_text import writable, writable_value
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, Reply


def about(assertion: Assertion, observed: Observed) -> dict[str, Any]:
    """``{output, context}``; ``prompt`` is what the user said last, ``vars`` and ``config`` are the field's names.

    What was not reported is null.
    """
    case = observed.case
    return {
        "output": writable(observed.text),
        "context": {
            "prompt": case.turns[-1],
            "vars": writable_value(dict(case.variables)),
            "config": writable_value(assertion.options.get("config")),
            "test": {"id": case.id, "description": case.name, "tags": list(case.tags)},
            "turns": list(case.turns),
            "replies": [_reply(reply) for reply in observed.replies],
            "latency_ms": None if observed.duration_seconds is None else observed.duration_seconds * 1000,
        },
    }


def _reply(reply: Reply) -> dict[str, Any]:
    return {
        "text": writable(reply.text),
        "tools": None if reply.tools is None else calls_json(reply.tools),
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        "cost_micros": reply.cost_micros,
        "state": writable_value(reply.state),
        "finish_reason": reply.finish_reason,
        "model": reply.model,
        "context": None if reply.context is None else [writable(one) for one in reply.context],
    }
