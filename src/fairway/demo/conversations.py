"""What the demo's customers say: seeded, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

FIRST_ORDER, ORDERS = 1001, 200
PRODUCTS = (
    "rain jacket", "wool scarf", "desk lamp", "coffee mug", "backpack", "water bottle", "notebook", "travel pillow",
    "headphones", "tea kettle",
)  # fmt: skip


class Kind(StrEnum):
    """What a conversation is about."""

    ORDER_STATUS = "order_status"
    PRODUCT = "product"
    REFUND = "refund"
    EXCHANGE = "exchange"
    CHAT = "chat"


DEFAULT_WEIGHTS: Mapping[Kind, float] = {
    Kind.ORDER_STATUS: 0.35,
    Kind.PRODUCT: 0.20,
    Kind.REFUND: 0.15,
    Kind.EXCHANGE: 0.20,
    Kind.CHAT: 0.10,
}
DEFAULT_TENANTS = ("acme", "globex", "initech", "umbrella")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message; ``think_seconds`` pass between the answer before and this one."""

    message: str
    think_seconds: float
    streamed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One customer's conversation."""

    id: str
    tenant: str
    kind: Kind
    turns: tuple[Turn, ...]


def plan_conversation(
    number: int,
    *,
    seed: int,
    tenants: Sequence[str] = DEFAULT_TENANTS,
    weights: Mapping[Kind, float] = DEFAULT_WEIGHTS,
    turns: tuple[int, int] = (1, 3),
    think_seconds: tuple[float, float] = (0.2, 0.8),
    streamed_share: float = 0.05,
) -> Conversation:
    """The ``number``-th conversation of a seed; the same for the same arguments, whatever was asked before.

    Args:
        number: 0-based.
        seed: Of the whole traffic.
        tenants: Drawn evenly.
        weights: Relative, by kind; a kind that is not there does not happen.
        turns: Fewest and most messages.
        think_seconds: Shortest and longest pause before a further message.
        streamed_share: Share of messages sent to the streaming path.
    """
    draw = random.Random(f"{seed}:{number}")  # noqa: S311 - seeded on purpose
    kinds = sorted(weights)
    kind = draw.choices(kinds, [weights[one] for one in kinds])[0]
    messages = _MESSAGES[kind](draw)
    count = draw.randint(*turns)
    planned = [messages[0], *(draw.choice(_FOLLOW_UPS[kind]) for _ in range(count - 2)), _GOODBYE][:count]
    return Conversation(
        id=f"conversation-{seed}-{number}",
        tenant=draw.choice(list(tenants)),
        kind=kind,
        turns=tuple(
            Turn(
                message=message,
                think_seconds=draw.uniform(*think_seconds) if index else 0.0,
                streamed=draw.random() < streamed_share,
            )
            for index, message in enumerate(planned)
        ),
    )


def _order(draw: random.Random) -> int:
    return FIRST_ORDER + draw.randrange(ORDERS)


def _order_status(draw: random.Random) -> list[str]:
    forms = ("Where is my order {}?", "What is the status of order {}?", "Has order #{} been shipped yet?")
    return [draw.choice(forms).format(_order(draw))]


def _product(draw: random.Random) -> list[str]:
    forms = ("How much is the {}?", "Do you have a {} in stock?", "Do you sell any {}?")
    return [draw.choice(forms).format(draw.choice(PRODUCTS))]


def _refund(draw: random.Random) -> list[str]:
    forms = (
        "I want my money back for order {}, it arrived broken.",
        "Please refund order {}.",
        "Can I get a refund for order #{}? It does not fit.",
    )
    return [draw.choice(forms).format(_order(draw))]


def _exchange(draw: random.Random) -> list[str]:
    old, new = draw.sample(PRODUCTS, 2)
    forms = (
        "Can I exchange the {old} from order {order} for a {new}?",
        "Please swap my order #{order} for the {new}.",
        "I would like to exchange order {order} for a {new}, please.",
    )
    return [draw.choice(forms).format(old=old, new=new, order=_order(draw))]


def _chat(draw: random.Random) -> list[str]:
    return [draw.choice(("Hi there! When are you open?", "Hello!", "Good morning, what are your opening hours?"))]


_MESSAGES: Mapping[Kind, Callable[[random.Random], list[str]]] = {
    Kind.ORDER_STATUS: _order_status,
    Kind.PRODUCT: _product,
    Kind.REFUND: _refund,
    Kind.EXCHANGE: _exchange,
    Kind.CHAT: _chat,
}
_FOLLOW_UPS: Mapping[Kind, tuple[str, ...]] = {
    Kind.ORDER_STATUS: ("And when will it arrive?", "Which carrier delivers it?"),
    Kind.PRODUCT: ("How much is the notebook?", "Do you have a backpack in stock?"),
    Kind.REFUND: ("Thank you. What are your opening hours?",),
    Kind.EXCHANGE: ("Thank you. What are your opening hours?",),
    Kind.CHAT: ("Do you have a desk lamp in stock?",),
}
_GOODBYE = "Thanks, that is all!"
