"""Every reason a controller can give is explained to people."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import fairway.rollout
from fairway.rollout.refusals import INSTEAD

SOURCE = Path(fairway.rollout.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "reasons.md"
_CODE = re.compile(r"^[a-z]+(_[a-z]+)*$")
_GIVES_CODE = {"wait": 1, "roll_back": 1, "pause": 2, "move_on": 2, "refuse": 2, "apply": 4}


def codes_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "").endswith("Error"):
            continue
        for keyword in node.keywords:
            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                found.add(keyword.value.value)
        place = _GIVES_CODE.get(getattr(node.func, "id", ""))
        if place is not None and len(node.args) > place and isinstance(node.args[place], ast.Constant):
            found.add(node.args[place].value)
    return {code for code in found if isinstance(code, str) and _CODE.match(code)}


def test_every_reason_code_is_on_the_page():
    codes = set().union(*(codes_of(file) for file in SOURCE.glob("*.py")))
    assert {"gate_failed", "shared_cause", "already_stable", "settled"} <= codes, "the search itself must work"
    documented = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    assert codes - documented == set()


def refused_with(file: Path) -> set[str]:
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    refusals = [call.args[2] for call in calls if getattr(call.func, "id", "") == "refuse"]
    lacks = [kw.value for call in calls if getattr(call.func, "id", "") == "Lack" for kw in call.keywords]
    proofs = [
        kw.value
        for call in calls
        if getattr(call.func, "id", "") == "Proof"
        for kw in call.keywords
        if kw.arg == "code"
    ]
    chosen = [
        leaf
        for node in (*refusals, *lacks, *proofs)
        for leaf in (node, *ast.walk(node))
        if isinstance(leaf, ast.Constant)
    ]
    return {leaf.value for leaf in chosen if isinstance(leaf.value, str) and _CODE.match(leaf.value)}


def test_every_refusal_says_what_to_do_instead():
    codes = set().union(*(refused_with(file) for file in SOURCE.glob("*.py")))
    assert {"role_missing", "withdrawn", "no_approval", "rollout_live"} <= codes, "the search itself must work"
    assert codes - set(INSTEAD) == set()
    assert all(text.strip() and not text.endswith(".") for text in INSTEAD.values())
