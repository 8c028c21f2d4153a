"""What was said before, by conversation; in this process and bounded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MAX_CONVERSATIONS = 10_000
MAX_MESSAGES = 20


class Memory:
    """The last messages of the last conversations. Only what user and agent said is kept, not tool calls."""

    def __init__(self, *, conversations: int = MAX_CONVERSATIONS, messages: int = MAX_MESSAGES) -> None:
        self._conversations = conversations
        self._messages = messages
        self._threads: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()

    def history(self, thread_id: str) -> list[dict[str, Any]]:
        """The messages so far, oldest first."""
        return list(self._threads.get(thread_id, ()))

    def remember(self, thread_id: str, message: str, answer: str) -> None:
        """Add one turn; the oldest messages, and the conversation unused for longest, make room."""
        thread = self._threads.setdefault(thread_id, [])
        thread += [{"role": "user", "content": message}, {"role": "assistant", "content": answer}]
        del thread[: -self._messages]
        self._threads.move_to_end(thread_id)
        while len(self._threads) > self._conversations:
            self._threads.popitem(last=False)
