"""Where a template splices in what a user or a document said, and whether delimiters keep it apart from instructions.

Delimiters tell a model which part of a prompt is material. They are no proof against injection - nothing in a prompt
is - but without them even a harmless text that sounds like an instruction is one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_ENVIRONMENT = ImmutableSandboxedEnvironment(keep_trailing_newline=True)
_SAID_BY_USERS = re.compile(
    r"^(?:user_?|customer_?|raw_?)?(?:question|query|message|input|utterance|prompt|request_text|email|e_mail|comment|"
    r"review|feedback|document|documents|doc|docs|context|contexts|passage|passages|article|page|web_?page|html|"
    r"search_results?|retrieved|transcript|conversation|chat_?history|history|attachment|ticket|complaint)$",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(/?)([A-Za-z][\w.:-]*)(?:\s[^<>]*)?>")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,}|-{3,}|={3,}|\*{3,}|#{3,}|_{3,}|\+{3,})[^\n]*$", re.MULTILINE)
_TRIPLE = ('"""', "'''", "```")
_PAIRS = (("<<", ">>"), ("[[", "]]"), ("«", "»"), ("⟦", "⟧"))
_ESCAPED = frozenset({"tojson", "urlencode", "length", "count"})
"""Filters whose result is no text, or keeps itself apart; HTML's ``escape`` leaves an instruction as it is."""

_JOINED = frozenset({"~", "+", "%", "*", "if", "else", "or", "and"})
"""What makes an expression of several: a filter then belongs to the nearest alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """A place where a variable stands in a template.

    Attributes:
        line: 1-based, inside the template.
        delimited: Whether something keeps it apart.
    """

    variable: str
    line: int
    delimited: bool


def sounds_untrusted(name: str) -> bool:
    """Whether a variable's name says that its text comes from outside, as ``question`` or ``document`` does."""
    return bool(_SAID_BY_USERS.match(name))


def find_splices(template: str, untrusted: Collection[str]) -> tuple[Splice, ...]:
    """Every place where an untrusted variable is put into the text.

    A variable is delimited inside an XML-like tag that is closed after it, between two lines that begin with the same
    three marks (``---``, ``===``, code fences), between triple quotes, or between ``<<`` ``>>``, ``[[`` ``]]``. One
    quotation mark is no delimiter: people write them.

    Args:
        template: Of a prompt; one that cannot be read has no splices.
        untrusted: Names of variables; those that a loop or ``set`` makes of them are untrusted too.
    """
    try:
        text, places = _flatten(template, frozenset(untrusted))
    except TemplateSyntaxError:
        return ()
    return tuple(
        Splice(variable=name, line=line, delimited=_is_delimited(text[:at], text[at:])) for at, name, line in places
    )


def _flatten(template: str, untrusted: frozenset[str]) -> tuple[str, list[tuple[int, str, int]]]:
    """The template's own text without its expressions, and where in it untrusted ones stood."""
    derived: dict[str, str] = {name: name for name in untrusted}
    parts: list[str] = []
    places: list[tuple[int, str, int]] = []
    length = 0
    inside: list[tuple[int, str, str]] = []
    for line, kind, value in _ENVIRONMENT.lex(template):
        if kind in ("data", "raw_begin", "raw_end"):
            if kind == "data":
                parts.append(value)
                length += len(value)
        elif kind in ("variable_begin", "block_begin"):
            inside = []
        elif kind == "variable_end":
            places += [(length, name, at) for name, at in _read(inside, derived)]
        elif kind == "block_end":
            derived |= _made(inside, derived)
        elif kind != "whitespace":
            inside.append((line, kind, value))
    return "".join(parts), places


def _read(tokens: list[tuple[int, str, str]], derived: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Untrusted variables an expression puts into the text, unless a filter makes them harmless."""
    outermost = list(_outermost(tokens))
    filters = {value for (kind, before), (_, value) in pairwise(outermost) if kind == "operator" and before == "|"}
    if filters & _ESCAPED and not any(kind in ("operator", "name") and value in _JOINED for kind, value in outermost):
        return
    for index, (line, kind, value) in enumerate(tokens):
        is_attribute = index > 0 and tokens[index - 1][2] == "."
        if kind == "name" and value in derived and not is_attribute:
            yield derived[value], line


def _outermost(tokens: list[tuple[int, str, str]]) -> Iterator[tuple[str, str]]:
    """Kind and value of what stands in no parentheses."""
    depth = 0
    for _, kind, value in tokens:
        if kind == "operator" and value in "([{":
            depth += 1
        elif kind == "operator" and value in ")]}":
            depth -= 1
        elif depth == 0:
            yield kind, value


def _made(tokens: list[tuple[int, str, str]], derived: Mapping[str, str]) -> dict[str, str]:
    """Names a ``for``, ``set`` or ``with`` makes of untrusted ones."""
    words = [value for _, kind, value in tokens if kind in ("name", "operator")]
    if words and words[0] == "with":
        source = next((derived[word] for word in words[1:] if word in derived), None)
        named = [word for word, after in pairwise(words) if after == "="]
        return {} if source is None else dict.fromkeys(named, source)
    mark = {"for": "in", "set": "="}.get(words[0]) if words else None
    if mark is None or mark not in words:
        return {}
    at = words.index(mark)
    source = next((derived[word] for word in words[at + 1 :] if word in derived), None)
    return {} if source is None else {word: source for word in words[1:at] if word.isidentifier()}


def _is_delimited(before: str, after: str) -> bool:
    return (
        _in_tag(before, after)
        or _in_fence(before, after)
        or any(before.count(mark) % 2 == 1 and mark in after for mark in _TRIPLE)
        or any(before.count(left) > before.count(right) and right in after for left, right in _PAIRS)
    )


def _in_tag(before: str, after: str) -> bool:
    open_tags: list[str] = []
    for match in _TAG.finditer(before):
        name = match[2].lower()
        if not match[1]:
            open_tags.append(name)
        elif name in open_tags:
            del open_tags[len(open_tags) - 1 - open_tags[::-1].index(name) :]
    closed = {match[2].lower() for match in _TAG.finditer(after) if match[1]}
    return any(name in closed for name in open_tags)


def _in_fence(before: str, after: str) -> bool:
    """Between two lines that begin with the same marks, of which an odd number stands before."""
    opened: dict[str, int] = {}
    for match in _FENCE.finditer(before):
        opened[match[1][0]] = opened.get(match[1][0], 0) + 1
    marks = {match[1][0] for match in _FENCE.finditer(after)}
    return any(count % 2 == 1 and mark in marks for mark, count in opened.items())
