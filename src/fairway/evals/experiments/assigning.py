"""Which variant a key is assigned to: always the same, and independent of every rollout. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from fairway.traffic.bucket import bucket
from fairway.units import WHOLE


def assigned(experiment: str, shares: Mapping[str, float], key: str) -> str:
    """The variant of a key (a conversation, a user).

    The buckets of the hash that splits traffic, under the experiment's name as salt, cut by the shares in their order.

    Args:
        experiment: Its name.
        shares: Percent by variant, in the order of the file, 100 together.
        key: Any text.
    """
    place = bucket(f"experiment/{experiment}", key)
    upto = Decimal(0)
    last = ""
    for name, share in shares.items():
        upto += Decimal(str(share)) * WHOLE / 100
        last = name
        if place < upto:
            return name
    return last
