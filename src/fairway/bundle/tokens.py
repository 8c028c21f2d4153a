"""How many tokens a text has, about, without a vocabulary."""

from __future__ import annotations

import math


def count_tokens(text: str) -> int:
    """About how many tokens a text has: ``max(1.3 x words, characters / 4)``, rounded up.

    The usual rule of thumb (100 tokens are about 75 English words or 400 characters), on the high side: it needs no
    vocabulary and is the same everywhere. A character from U+2E80 on (Chinese, Japanese, Korean …) counts as a token.
    For budgets, not for bills.
    """
    wide = sum(1 for char in text if ord(char) >= 0x2E80)  # CJK and beyond: about a token a character
    narrow = len(text) - wide
    return math.ceil(max(1.3 * len(text.split()), wide + narrow / 4))
