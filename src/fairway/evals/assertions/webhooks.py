"""Asks a service whether an assertion holds."""

from __future__ import annotations

import json

from fairway.errors import FairwayError
from fairway.evals.assertions.about import about
from fairway.evals.assertions.finding import Finding, broken
from fairway.evals.assertions.grading import read_verdict
from fairway.evals.assertions.json_text import parse_json
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion
from fairway.http_client.client import HttpClient


class Webhooks:
    """``POST {output, context}`` to the address an assertion names; the answer is read as a script's is.

    Redirects are not followed and nothing is tried again: the service may have acted.
    """

    def __init__(self, http: HttpClient, *, timeout_seconds: float = 10.0) -> None:
        """Take a client, which the caller closes."""
        self._http = http
        self._timeout = timeout_seconds

    async def measure(self, assertion: Assertion, observed: Observed) -> Finding:
        """What the service says; ``error`` for any answer but 200 with a verdict in JSON."""
        try:
            body = json.dumps(about(assertion, observed)).encode()
            answer = await self._http.post(assertion.value, body, timeout_seconds=self._timeout)
        except FairwayError as error:
            return broken(error.message)
        except (ValueError, TypeError, RecursionError) as error:
            return broken(f"the trial cannot be handed to it: {error}")
        if answer.status != 200:
            return broken(f"it answered {answer.status}")
        parsed = parse_json(answer.body.decode("utf-8", "replace"))
        if parsed.problem is not None:
            return broken(f"its answer is not JSON: {parsed.problem}")
        return read_verdict(parsed.value, assertion.threshold)
