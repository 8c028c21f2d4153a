"""Colours of the HTML report, by the rule of WCAG 2.2 for small text: a ratio of 4.5 in light and in dark."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STYLE = files("fairway.evals.reports").joinpath("assets", "report.css").read_text(encoding="utf-8")
COLORS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", STYLE)
}
ON = [
    *((ink, ground) for ink in ("text", "muted", "good", "bad", "open") for ground in ("page", "panel", "raised")),
    *((ink, "selected") for ink in ("text", "muted", "good", "bad", "open")),
    *((tone, f"{tone}-back") for tone in ("good", "bad", "open")),
    ("text", "good-back"),
    ("text", "bad-back"),
]


def luminance(color: str) -> float:
    shares = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), ON, ids=[f"{ink} on {ground}" for ink, ground in ON])
def test_text_can_be_read_on_its_ground(ink: str, ground: str, dark: bool) -> None:
    one, other = sorted((luminance(COLORS[ink][dark]), luminance(COLORS[ground][dark])), reverse=True)
    assert (one + 0.05) / (other + 0.05) >= 4.5
