"""Why this gateway sends a request where it does: its table, what it decided by itself, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairway.errors import UserError
from fairway.gateway.conversations import ConversationMemory, open_memory
from fairway.gateway.overruling import overruled
from fairway.gateway.state import LocalDecisions
from fairway.traffic.explaining import explain
from fairway.traffic.facts import GivenFacts
from fairway.traffic.keys import issued_cookie
from fairway.traffic.pin import Pin, PinSigner, sent_pin
from fairway.traffic.release_pass import PassSigner
from fairway.traffic.rules import Ruleset
from fairway.traffic.table import KeyExtractor, KeyKind, RouteTable
from fairway.units import UnitHash

_KEY_HEADER = "x-fairway-explained-key"
_ASKED = frozenset({"headers", "path", "body", "key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: a request, or a conversation by its key alone, however requests say that.

    Attributes:
        facts: Of the request.
        key: Of the conversation; ``None``: it is in the request.
    """

    facts: GivenFacts
    key: str | None = None

    @classmethod
    def from_wire(cls, wire: object) -> Question:
        """Read a question; of headers with one name the first counts, as in a request.

        Raises:
            UserError: When it is none.
        """
        known: dict[str, Any] = wire if isinstance(wire, dict) else {"?": wire}
        headers, path, key, body = (known.get(name) for name in ("headers", "path", "key", "body"))
        texts = all(value is None or isinstance(value, str) for value in (path, key, body))
        given = {} if headers is None else headers
        fits = isinstance(given, dict) and all(isinstance(value, str) for value in given.values())
        if not known.keys() <= _ASKED or not texts or not fits:
            raise UserError(
                "a question has headers, and may have path, body and key, all texts",
                code="question",
                hint='for example {"headers": {"x-conversation-id": "c-17"}, "path": "/chat"}',
            )
        return cls(facts=facts_of(given, path=path or "/", body=(body or "").encode("utf-8", "replace")), key=key)


def facts_of(headers: Mapping[str, str], *, path: str, body: bytes) -> GivenFacts:
    """Facts as the gateway reads them: names in lower case, values without the white space around them."""
    given: dict[str, str] = {}
    for name, value in headers.items():
        given.setdefault(name.strip().lower(), value.strip(" \t"))
    return GivenFacts(path=path.partition("?")[0], headers=given, body=body)


def explain_here(
    question: Question,
    table: RouteTable,
    decisions: LocalDecisions,
    *,
    key: bytes,
    memory: Path | None,
    now: float,
    fit: Callable[[RouteTable], RouteTable] = lambda table: table,
) -> dict[str, Any]:
    """Why a request is served as it is.

    Args:
        question: What is asked.
        table: As the controller wants it.
        decisions: That overrule it.
        key: Of pins and passes.
        memory: The conversations that the workers remember; ``None``: none.
        now: Epoch seconds.
        fit: Leaves the endpoints out that do not do well.
    """
    served, withheld = overruled(table, decisions)
    served = fit(served)
    facts = question.facts
    if question.key is not None:
        served = replace(served, keys=(KeyExtractor(kind=KeyKind.HEADER, name=_KEY_HEADER),))
        facts = replace(facts, headers={**facts.headers, _KEY_HEADER: question.key})
    ruleset, route = Ruleset(served, withheld), str(table.route)
    conversations = None if memory is None else open_memory(memory)
    try:
        found = explain(
            ruleset,
            facts,
            named=ruleset.named(facts, PassSigner(key, route=route), now),
            pin=sent_pin(facts, PinSigner(key, route=route), now),
            recall=_Recall(conversations, now),
        )
    finally:
        if conversations is not None:
            conversations.close()
    found["issues"] = issued_cookie(served.keys) if found["by_chance"] else None
    found["versions"] = {arm.release: arm.version for arm in table.arms}
    found["withheld"] = sorted(withheld)
    found["pinned_to"] = decisions.pinned_to if decisions.pinned else None
    found["tripped"] = decisions.tripped
    found["masked"] = sorted({*decisions.masked, *table.masks})
    return found


class _Recall:
    """Asks the shared memory, if there is one."""

    def __init__(self, conversations: ConversationMemory | None, now: float) -> None:
        self._conversations = conversations
        self._now = now

    def __call__(self, unit: UnitHash, /) -> Pin | None:
        return None if self._conversations is None else self._conversations.recall(unit, self._now)
