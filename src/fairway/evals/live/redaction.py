"""What is personal or secret by its shape never stays in a text: pure.

Shapes are searched in what the text *says*: invisible characters are taken out first, and digits of other scripts
count as digits. What is checked by a sum (cards, IBANs) is only replaced where the sum is right, so that order numbers
stay; for everything else too much is better than too little.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TELLING = re.compile(
    r"(?:^|[_\-. ])(?:tokens?|secrets?|password|passwd|passphrase|pwd|pin|cvv|cvc|credentials?|authorization|"
    r"api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key|session[_-]?id|cookie)$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ASSIGNED = (
    r"(?i:(?<![A-Za-z0-9])(?:[A-Za-z0-9_.\-]{0,40}?"
    r"(?:(?:api|access|private|signing|secret)[ _-]?key|secret|token|password|passwd|passphrase|pwd)|pin|cvv|cvc)"
    r"[\"']?\s*(?:is|=|:|→|->)\s*[\"']?)"
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Control characters, and what Unicode says to show as nothing that is no format character (``Cf``)."""
_MOST_DEPTH = 32
_MOST_DIGITS = 200
_GAP = r"[\s.\-\u2010-\u2015/_]{0,2}"


Spans = Iterator[tuple[int, int]]


def whole(text: str) -> Spans:
    """All of a match."""
    yield 0, len(text)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is looked for.

    Attributes:
        name: What it becomes: ``[NAME_REDACTED]``.
        pattern: Where it may be; a group ``keep`` in front of it stays.
        inside: Which parts of a match it is.
    """

    name: str
    pattern: re.Pattern[str]
    inside: Callable[[str], Spans] = whole


def luhn(digits: Sequence[int]) -> bool:
    """Whether 13 to 19 digits end in the right check digit, as those of a payment card do."""
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    return sum(_DOUBLED[place % 2][digit] for place, digit in enumerate(reversed(digits))) % 10 == 0


_DOUBLED = (tuple(range(10)), tuple(2 * digit - 9 * (digit > 4) for digit in range(10)))


_LENGTHS = {2: (16,), 3: (14, 15, 16), 4: (13, 16, 19), 5: (16,), 6: (16, 17, 18, 19)}
"""How many digits cards have, by their first (ISO/IEC 7812, the issuers that exist)."""


def cards(text: str) -> Spans:
    """All of a run of digits with small gaps, if a card number is anywhere in it: what follows may be its date."""
    digits = [int(char) for char in text if char.isdecimal()]
    if len(digits) > _MOST_DIGITS or any(
        at + length <= len(digits) and luhn(digits[at : at + length])
        for at, first in enumerate(digits)
        for length in _LENGTHS.get(first, ())
    ):
        yield 0, len(text)


def ibans(text: str) -> Spans:
    """The IBAN that begins a text, if one does: its remainder modulo 97 is 1 (ISO 13616)."""
    places = [place for place, char in enumerate(text) if char.isalnum()]
    compact = "".join(text[place] for place in places).upper()
    for length in range(min(34, len(compact)), 14, -1):
        number = "".join(str(int(char, 36)) for char in compact[4:length] + compact[:4])
        if int(number) % 97 == 1:
            yield 0, places[length - 1] + 1
            return


_CREDENTIALS = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    r"\bsk-[A-Za-z0-9_-]{16,}",
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    r"\b(?:glpat-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|xox[abeoprs]-[A-Za-z0-9-]{10,})",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bAIza[A-Za-z0-9_-]{30,}",
    r"\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"(?P<keep>(?i:bearer|basic) )[A-Za-z0-9._~+/=-]{12,}",
    r"(?P<keep>://)[^/\s:@\"]*:[^/\s@\"]+(?=@)",
    r"(?P<keep>\b(?i:cvv|cvc)\d?\W{0,3})\d{3,4}\b",
    rf"(?P<keep>{_ASSIGNED})(?:(?<=\")[^\"\n]{{3,}}|(?<=')[^'\n]{{3,}}|[^\s,;\"'\[\]]{{3,}})",
)
_SHAPES = (
    *(Shape("CREDENTIAL", re.compile(pattern, re.DOTALL)) for pattern in _CREDENTIALS),
    Shape("EMAIL", re.compile(r"[\w.%+-]{1,64}[@\uff20](?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")),
    Shape("IBAN", re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ \-]?[A-Za-z0-9]){11,30}"), ibans),
    Shape("CC", re.compile(rf"\d(?:{_GAP}\d){{12,}}"), cards),
    Shape("SSN", re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}[- ](?!00)\d{2}[- ](?!0000)\d{4}(?![\d-])")),
    Shape("SSN", re.compile(r"(?P<keep>(?i:\bssn|social security(?: number| no\.?)?)\W{0,3}(?:is|:)?\s{0,3})\d{9}\b")),
    Shape("PHONE", re.compile(r"(?<![\w+])\+\d{1,3}(?:[ .\-/()\u2010-\u2015]{0,2}\d){6,13}(?!\d)")),
    Shape("PHONE", re.compile(r"(?<![\w-])\(?\d{3}\)?[ .\-/]\d{3}[ .\-]\d{4}(?![\w-])")),
    Shape("PHONE", re.compile(r"(?<![\w-])0\d{1,5}[ /\-]\d{2,4}(?:[ \-]?\d{2,4}){1,3}(?![\w-])")),
)
"""In the order they are replaced: an IBAN holds what looks like a card, a card what looks like a phone number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redactor:
    """Replaces what is personal or secret.

    Attributes:
        own: Shapes of the project, looked for first.
    """

    own: Sequence[Shape] = ()

    def text(self, text: str) -> str:
        """``text`` with every match replaced by what it was, as ``[EMAIL_REDACTED]``."""
        shown = _visible(text)
        for shape in (*self.own, *_SHAPES):
            shown = _replaced(shape, shown)
        return shown

    def value(self, value: Any, *, depth: int = 0) -> Any:
        """A JSON value with every text in it redacted, keys included; what stands under a telling key is replaced."""
        if depth > _MOST_DEPTH:
            return "[TOO_DEEP_REDACTED]"
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): "[CREDENTIAL_REDACTED]"
                if _is_telling(str(key), entry)
                else self.value(entry, depth=depth + 1)
                for key, entry in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(entry, depth=depth + 1) for entry in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = self.text(str(value))
            return value if shown == str(value) else shown
        return value


def _visible(text: str) -> str:
    """Without characters nobody sees, which would part what belongs together."""
    seen = _UNSEEN.sub("", text)
    if seen.isascii():
        return seen
    return "".join(char for char in seen if unicodedata.category(char) != "Cf")


def _is_telling(key: str, entry: Any) -> bool:
    """Whether a key says that what stands there is a secret; a number of tokens is none."""
    if entry is None or isinstance(entry, bool):
        return False
    found = _TELLING.search(_CAMEL.sub("_", key))
    return bool(found) and not (isinstance(entry, int | float) and "token" in key.lower())


def _replaced(shape: Shape, text: str) -> str:
    def replacement(match: re.Match[str]) -> str:
        kept = match.groupdict().get("keep") or ""
        body = match[0][len(kept) :]
        parts, at = [kept], 0
        for start, end in shape.inside(body):
            parts += [body[at:start], f"[{shape.name}_REDACTED]"]
            at = end
        return "".join((*parts, body[at:]))

    return shape.pattern.sub(replacement, text)
