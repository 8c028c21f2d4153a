"""Every reason a controller can give is explained to people."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import fairway.rollout

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
