"""The report as one HTML file that works offline: side by side, with filters, search and diffs.

Nothing an agent or a judge wrote is markup here: texts travel as JSON in script elements that are never executed and
reach the page through ``textContent``. The page's policy allows the two inlined assets by their digests and nothing
else: no request, no handler, no frame, no HTML from a string.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files

from fairway.evals.plain_text import plain
from fairway.evals.reports.content import ReportContent, pair_cases
from fairway.evals.reports.html_data import as_script, chunks_of, index_of, packed
from fairway.evals.reports.summary import Fact, Summary, summarise

_SCRIPTS = ("diff.js", "parts.js", "data.js", "case.js", "report.js")
"""One program; each file knows those before it."""


def render_html(content: ReportContent) -> Iterator[str]:
    """The report in pieces, to be written one after the other: a large run's report is never in memory as a whole.

    The index and the program come before what was said, so that a large report can be used while it still loads.
    """
    pairs = pair_cases(content)
    summary = summarise(content, pairs)
    style, script = _asset("report.css"), "".join(map(_asset, _SCRIPTS))
    yield _head(content, summary, style, script)
    yield _verdict(content, summary)
    yield _BODY
    yield f'<script type="application/json" id="index">{as_script(index_of(content, pairs, summary.flags))}</script>\n'
    yield f"<script>{script}</script>\n"
    explained = {(one.result.suite, one.result.case_id): one.changed() for one in content.explanations}
    for number, chunk in enumerate(chunks_of(pairs, explained)):
        yield f'<script type="text/plain" id="cases-{number}">{packed(chunk)}</script>\n'
    yield "</body>\n</html>\n"


@cache
def _asset(name: str) -> str:
    return files("fairway.evals.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _head(content: ReportContent, summary: Summary, style: str, script: str) -> str:
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="fairway">
<title>{_text(summary.word)} · {_text(content.title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#list">Skip to the cases</a>
"""


def _verdict(content: ReportContent, summary: Summary) -> str:
    reasons = "".join(f"<li>{_text(reason)}</li>" for reason in (*summary.reasons, *summary.notes))
    tiles = "".join(
        f"<div><dt>{_text(fact.name)}</dt><dd>{_text(fact.value)}{_small(fact.note)}</dd></div>"
        for fact in summary.tiles
    )
    return f"""<header id="verdict">
<div class="head"><span class="pill {summary.tone}">{_text(summary.word)}</span><h1>{_text(content.title)}</h1></div>
<ul class="reasons">{reasons}</ul>
<dl class="tiles">{tiles}</dl>
{_facts(summary.facts)}</header>
"""


def _facts(facts: tuple[Fact, ...]) -> str:
    if not facts:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_text(fact.name)}</th><td>{_text(fact.value)}</td><td class="muted">{_text(fact.note)}'
        "</td></tr>"
        for fact in facts
    )
    return f'<details><summary>All figures</summary><div class="facts"><table>{rows}</table></div></details>\n'


def _small(note: str) -> str:
    return f"<small>{_text(note)}</small>" if note else ""


def _text(text: str) -> str:
    return escape(plain(text))


_BODY = """<div id="tools" role="search">
<label class="sr" for="q">Search in cases, replies and reasons</label>
<input type="search" id="q" placeholder="Search cases and replies  ( / )" autocomplete="off" spellcheck="false">
<div class="chips" id="chips" role="group" aria-label="Which cases"></div>
<label class="sr" for="suite">Suite</label><select id="suite"><option value="">every suite</option></select>
<label class="sr" for="tag">Tag</label><select id="tag"><option value="">every tag</option></select>
<label class="sr" for="metric">Metric</label><select id="metric"><option value="">every metric</option></select>
<label class="sr" for="sort">Order</label><select id="sort">
<option value="worst">worst first</option><option value="file">as in the suites</option>
<option value="name">by id</option><option value="score">lowest score</option><option value="cost">highest cost</option>
<option value="tokens">most tokens</option><option value="growth">tokens grown most</option>
<option value="seconds">slowest</option></select>
<span class="push"></span>
<button type="button" class="plain" id="diff" aria-pressed="true">Differences</button>
<button type="button" class="plain" id="theme">Light / dark</button>
<button type="button" class="plain" id="keys" aria-haspopup="dialog">Keys</button>
</div>
<noscript><p class="note open">The list of cases needs JavaScript; the verdict above does not.</p></noscript>
<div id="print"></div>
<main id="panes">
<section id="left" aria-label="Cases">
<div id="status" role="status" aria-live="polite"></div>
<div id="list" role="listbox" tabindex="0" aria-label="Cases"><div id="space" role="presentation"></div></div>
</section>
<section id="case" tabindex="-1" aria-label="The case that is open"></section>
</main>
<dialog id="help" aria-labelledby="help-title">
<h2 id="help-title">Keys</h2>
<table>
<tr><td><kbd>j</kbd> <kbd>k</kbd> or <kbd>↓</kbd> <kbd>↑</kbd></td><td>next, previous case</td></tr>
<tr><td><kbd>Enter</kbd>, <kbd>Esc</kbd></td><td>into the case, back to the list</td></tr>
<tr><td><kbd>[</kbd> <kbd>]</kbd></td><td>previous, next repeat</td></tr>
<tr><td><kbd>/</kbd></td><td>search: every word must be there</td></tr>
<tr><td><kbd>f</kbd> <kbd>F</kbd></td><td>next, previous filter</td></tr>
<tr><td><kbd>d</kbd></td><td>differences on or off</td></tr>
<tr><td><kbd>t</kbd></td><td>light or dark</td></tr>
</table>
<form method="dialog"><p><button class="plain">Close</button></p></form>
</dialog>
"""
