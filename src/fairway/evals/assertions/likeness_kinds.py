"""Checks of how alike a reply and a reference are."""

from __future__ import annotations

from fairway.evals.assertions.finding import Finding, at_least, broken, held, violated
from fairway.evals.assertions.similarity import bleu, distance, rouge_l, rouge_n
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion

MOST_EDITS = 5
LEAST_ROUGE = 0.75
LEAST_BLEU = 0.5
MOST_COMPARED = 400_000_000
"""Characters of the one times those of the other: seconds, during which nothing else goes on."""


def check_levenshtein(assertion: Assertion, observed: Observed) -> Finding:
    """At most ``threshold`` characters to insert, delete or replace (5)."""
    most = int(MOST_EDITS if assertion.threshold is None else assertion.threshold)
    found = distance(observed.text, assertion.value, most)
    return held() if found is not None else violated(f"more than {most} characters differ from the reference")


def check_rouge_n(assertion: Assertion, observed: Observed) -> Finding:
    """F1 of shared n-grams (``n``: 1) reaches the threshold (0.75)."""
    return _rouge(assertion, observed, int(assertion.options.get("n", 1)))


def check_rouge_1(assertion: Assertion, observed: Observed) -> Finding:
    """F1 of shared words reaches the threshold (0.75)."""
    return _rouge(assertion, observed, 1)


def check_rouge_2(assertion: Assertion, observed: Observed) -> Finding:
    """F1 of shared pairs of words reaches the threshold (0.75)."""
    return _rouge(assertion, observed, 2)


def _rouge(assertion: Assertion, observed: Observed, size: int) -> Finding:
    score = max(rouge_n(observed.text, reference, size) for reference in assertion.value)
    return at_least(score, assertion.threshold or LEAST_ROUGE, f"ROUGE-{size}")


def check_rouge_l(assertion: Assertion, observed: Observed) -> Finding:
    """F1 of the longest common subsequence of words reaches the threshold (0.75)."""
    if len(observed.text) * max(map(len, assertion.value)) > MOST_COMPARED:
        return broken("the reply and the reference are too long for a common subsequence to be looked for")
    score = max(rouge_l(observed.text, reference) for reference in assertion.value)
    return at_least(score, assertion.threshold or LEAST_ROUGE, "ROUGE-L")


def check_bleu(assertion: Assertion, observed: Observed) -> Finding:
    """BLEU against one or more references reaches the threshold (0.5)."""
    return at_least(bleu(observed.text, assertion.value), assertion.threshold or LEAST_BLEU, "BLEU")
