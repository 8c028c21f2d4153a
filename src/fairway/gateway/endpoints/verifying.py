"""Whether an answer comes from the release it was asked of: what the arm says of itself in every answer. Pure.

A port is used again: the instance of one release ends, and another release's instance listens where a gateway still
holds the first one's address. An arm that says its digest in the header ``fairway-release`` is found out; one that says
nothing is *unverified*, which is shown and changes nothing else.
"""

from __future__ import annotations

RELEASE_HEADER = b"fairway-release"
"""Lower-case name; its value is the digest of the release, as in ``FAIRWAY_RELEASE``."""


def from_another(said: bytes | None, expected: bytes) -> bool:
    """Whether an answer that says ``said`` of its release is another release's; saying nothing is not.

    Args:
        said: Value of the header, white space around it allowed; of a repeated one, anything but a digest.
        expected: Digest of the arm's release.
    """
    return said is not None and said.strip(b" \t") != expected
