"""Studies as a picture: who has stopped which share of rollouts by when. Plain SVG, no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fairway.simulate.rivals import RULES
from fairway.simulate.study import Study

_WIDTH, _HEIGHT = 460, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 30, 34
_COLOURS = ("#0b5fa5", "#8a8a8a", "#c2410c", "#f59e0b", "#7c3aed", "#c4b5fd")
_DASHES = ("", "4 3", "", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    name: str
    delays: Sequence[float | None]
    colour: str
    dash: str


def svg_of(studies: Sequence[Study]) -> str:
    """One panel a study, two in a row: the share of rollouts stopped over the time since the fault."""
    rows = max(1, math.ceil(len(studies) / 2))
    width, height = 2 * _WIDTH, rows * _HEIGHT + 40
    body = [_panel(study, x=(place % 2) * _WIDTH, y=(place // 2) * _HEIGHT) for place, study in enumerate(studies)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
            f' height="{height}" font-family="system-ui, sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *body,
            _legend(y=rows * _HEIGHT + 22),
            "</svg>",
            "",
        ]
    )


def _lines(study: Study) -> list[_Line]:
    everybody: list[tuple[str, Sequence[float | None]]] = [
        ("Fairway", [each.delay for each in study.outcomes]),
        ("best possible", [each.best for each in study.outcomes]),
    ]
    for place, rule in enumerate(RULES):
        everybody.append((rule.name, [each.rivals[place] for each in study.outcomes]))
    return [
        _Line(name=name, delays=delays, colour=_COLOURS[place], dash=_DASHES[place])
        for place, (name, delays) in enumerate(everybody)
    ]


def _panel(study: Study, *, x: int, y: int) -> str:
    minutes = study.scenario.seconds / 60
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    ticks = []
    for part in range(5):
        across, up = _LEFT + inner_width * part / 4, _TOP + inner_height * (1 - part / 4)
        ticks.append(f'<text x="{across:.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{minutes * part / 4:g}</text>')
        ticks.append(f'<text x="{_LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{25 * part}%</text>')
        ticks.append(
            f'<line x1="{_LEFT}" y1="{up:.1f}" x2="{_WIDTH - _RIGHT}" y2="{up:.1f}" stroke="#e5e7eb" stroke-width="1"/>'
        )
    curves = [_curve(line, seconds=study.scenario.seconds) for line in reversed(_lines(study))]
    return "\n".join(
        [
            f'<g transform="translate({x} {y})">',
            f'<text x="{_LEFT}" y="18" font-weight="600">{escape(study.scenario.name)}</text>',
            *ticks,
            *[curve for curve in curves if curve],
            f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">minutes since the fault</text>',
            "</g>",
        ]
    )


def _curve(line: _Line, *, seconds: float) -> str:
    """A staircase: the share stopped by each moment; one that stops nobody is left out."""
    stops = sorted(max(0.0, delay) for delay in line.delays if delay is not None and delay <= seconds)
    if not stops:
        return ""
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    points, share = [f"{_LEFT},{_TOP + inner_height}"], 0.0
    for number, stop in enumerate(stops, start=1):
        across = _LEFT + inner_width * stop / seconds
        points.append(f"{across:.1f},{_TOP + inner_height * (1 - share):.1f}")
        share = number / len(line.delays)
        points.append(f"{across:.1f},{_TOP + inner_height * (1 - share):.1f}")
    points.append(f"{_WIDTH - _RIGHT},{_TOP + inner_height * (1 - share):.1f}")
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    return f'<polyline fill="none" stroke="{line.colour}" stroke-width="1.8"{dash} points="{" ".join(points)}"/>'


def _legend(*, y: int) -> str:
    names = ("Fairway", "best possible", *(rule.name for rule in RULES))
    entries = []
    for place, name in enumerate(names):
        x = _LEFT + place * 142
        dash = f' stroke-dasharray="{_DASHES[place]}"' if _DASHES[place] else ""
        line = f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}"'
        entries.append(f'{line} stroke="{_COLOURS[place]}" stroke-width="2"{dash}/>')
        entries.append(f'<text x="{x + 23}" y="{y}">{escape(name)}</text>')
    return "\n".join(entries)
