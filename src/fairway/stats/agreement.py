# ruff: noqa: RUF002 - minus signs stand as in the paper
"""How far two raters agree beyond what their habits alone would give."""

from __future__ import annotations

import math
from collections.abc import Sequence


def cohen_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa, ``(p_o − p_e) / (1 − p_e)``.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales", equation 1: ``p_o`` is the share on the
    diagonal, ``p_e`` the share expected there from the margins alone.

    Args:
        table: Counts, a row for each category of the first rater, a column for the same category of the second.

    Returns:
        At most 1; ``None`` without items, and where both always name the same one category, so that no agreement beyond
        chance could be seen.

    Raises:
        ValueError: The table is not square.
    """
    size = len(table)
    if any(len(row) != size for row in table):
        raise ValueError("kappa needs the same categories for both raters")
    total = sum(map(sum, table))
    if total == 0:
        return None
    seen = sum(table[index][index] for index in range(size))
    rows = [sum(row) for row in table]
    columns = [sum(row[index] for row in table) for index in range(size)]
    by_chance = sum(row * column for row, column in zip(rows, columns, strict=True))
    if by_chance == total * total:
        return None
    return (seen * total - by_chance) / (total * total - by_chance)


def sign_test(worse: int, better: int) -> float:
    """Probability of at least so many changes for the worse if a change went either way like a coin.

    Source: McNemar 1947, exact: of the items on which two ratings differ, binomial with a half.

    Args:
        worse: Items that were rated rightly before and wrongly now.
        better: The other way round.

    Returns:
        One-sided p-value; 1 without any change.
    """
    changed = worse + better
    return sum(math.comb(changed, count) for count in range(worse, changed + 1)) / (1 << changed)
