"""How alike two texts are: edit distance, ROUGE, BLEU. Plain mathematics."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_TOKEN = re.compile(r"\w+(?=n['\u2019]t\b)|n['\u2019]t\b|['\u2019](?:s|m|d|ll|re|ve)\b|\w+(?:[-.,]\w+)*|[^\w\s]")


def distance(first: str, second: str, most: int) -> int | None:
    """Levenshtein distance, in characters; ``None``: more than ``most``.

    Only the band of ``most`` cells on each side of the diagonal is computed (Ukkonen 1985), so that a small limit stays
    cheap on long texts: O(``most`` * length).
    """
    first, second = _without_common_ends(*sorted((first, second), key=len))
    apart = len(second) - len(first)
    most = min(most, len(second))
    if apart > most:
        return None
    far = most + 1
    # cell ``index`` of a row is column ``row + index - most``; one more on each side, so that neighbours are there
    before = [far, *(column if column >= 0 else far for column in range(-most, most + 1)), far]
    for row, char in enumerate(first, start=1):
        now = [far] * (2 * most + 3)
        for index in range(max(1, most + 1 - row), min(2 * most + 1, len(second) - row + most + 1) + 1):
            column = row + index - 1 - most
            if column == 0:
                now[index] = row
                continue
            same = before[index] + (char != second[column - 1])
            now[index] = min(same, before[index + 1] + 1, now[index - 1] + 1, far)
        if min(now) > most:
            return None
        before = now
    found = before[apart + most + 1]
    return found if found <= most else None


def _without_common_ends(first: str, second: str) -> tuple[str, str]:
    """Two texts, the shorter first, without what they start and end with alike."""
    start = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(first))
    first, second = first[start:], second[start:]
    pairs = zip(reversed(first), reversed(second), strict=False)
    end = next((at for at, (a, b) in enumerate(pairs) if a != b), len(first))
    return first[: len(first) - end], second[: len(second) - end]


def tokens(text: str) -> list[str]:
    """Lower-cased words and marks: ``Don't, it's 3.5`` is ``do n't , it 's 3.5``, much as Penn Treebank splits."""
    return _TOKEN.findall(text.lower())


def _clipped(first: Sequence[tuple[str, ...]], second: Sequence[tuple[str, ...]]) -> int:
    return sum((Counter(first) & Counter(second)).values())


def _ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def _f1(overlap: int, found: int, wanted: int) -> float:
    return 2 * overlap / (found + wanted) if overlap else 0.0


def rouge_n(candidate: str, reference: str, size: int = 1) -> float:
    """F1 of the n-grams two texts share, each counted as often as both have it.

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries", section 2.
    """
    found, wanted = _ngrams(tokens(candidate), size), _ngrams(tokens(reference), size)
    return _f1(_clipped(found, wanted), len(found), len(wanted))


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common subsequence of words.

    Source: Lin 2004, section 3, the sentence level with beta = 1.
    """
    found, wanted = tokens(candidate), tokens(reference)
    lengths = [0] * (len(wanted) + 1)
    for word in found:
        diagonal = 0
        for at, other in enumerate(wanted, start=1):
            diagonal, lengths[at] = lengths[at], diagonal + 1 if word == other else max(lengths[at], lengths[at - 1])
    return _f1(lengths[-1], len(found), len(wanted))


def bleu(candidate: str, references: Sequence[str]) -> float:
    """BLEU of up to four words, uniform weights, brevity penalty against the reference nearest in length.

    An order the candidate is too short for is left out and the weights spread over the rest; a precision of 0 counts as
    1e-7. Words are what stands between white space, lower-cased.

    Source: Papineni et al. 2002, section 2; the two rules for short texts are promptfoo's: thresholds carry over.
    """
    words = candidate.lower().split()
    if not words:
        return 0.0
    others = [reference.lower().split() for reference in references]
    nearest = min((abs(len(other) - len(words)), len(other)) for other in others)[1]
    logs = []
    for size in range(1, 5):
        found = _ngrams(words, size)
        if found:
            best = max(_clipped(found, _ngrams(other, size)) for other in others)
            logs.append(math.log(best / len(found) if best else 1e-7))
    brevity = 1.0 if len(words) > nearest else math.exp(1 - nearest / len(words))
    return brevity * math.exp(sum(logs) / len(logs))
