"""A release's shadow: the same release with every tool mocked, which is another arm than the one users meet."""

from __future__ import annotations

from fairway.bundle.components import is_dev, mark_dev, without_dev
from fairway.canonical import value_digest
from fairway.units import Digest

SHADOW_VARIABLE = "FAIRWAY_SHADOW"
"""``1`` in the environment of an arm of role ``shadow``: it must not reach a real tool, whatever it is asked."""


def shadow_configuration(effective: Digest) -> Digest:
    """The effective digest of an arm of role ``shadow``, given that of the arm it is the shadow of.

    It differs because its tools are mocked. So the two never share a process: no shadow is ever promoted to answer
    users with mocked tools, and no arm with real tools is ever given mirrored requests.

    Args:
        effective: Digest of the release as the environment serves it.
    """
    digest = value_digest({"effective": without_dev(effective), "tools": "mocked"})
    return mark_dev(digest) if is_dev(effective) else digest
