from __future__ import annotations

import re
from pathlib import Path

import yaml

from fairway.evals.config import EvalsSection
from fairway.evals.judges.calibration_set import load_calibration
from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.suites.load import parse_suite

PAGE = (Path(__file__).parents[4] / "docs/evals/judges.md").read_text(encoding="utf-8")
# every second part stands between fences
FENCED = [block.partition("\n")[2] for block in re.split(r"^```", PAGE, flags=re.MULTILINE)[1::2]]
BLOCKS = [block for block in FENCED if not block.startswith("fairway eval")]


def test_every_example_of_the_page_is_read_as_it_stands():
    kinds = []
    for block in BLOCKS:
        value = yaml.safe_load(block)
        if "evals" in value:
            kinds.append("config")
            assert EvalsSection.model_validate(value["evals"]).judge is not None
        elif "cases" in value:
            kinds.append("suite")
            assert len(parse_suite(block.encode(), file="suite.yaml").cases[0].checks) == 5
        else:
            kinds.append("calibration")
            items = load_calibration(block.encode(), file="items.yaml", settings=JudgeSettings(model="m"))
            assert [item.good for item in items] == [True, False, False, True]
    assert sorted(kinds) == ["calibration", "config", "config", "config", "suite"]


def test_every_kind_alias_and_grade_is_on_the_page():
    for name, kind in JUDGE_KINDS.items():
        assert f"`{name}`" in PAGE, name
        for grade, score in (kind.scale or {}).items():
            if kind.name != "pairwise":
                assert f"`{grade}` {score:g}" in PAGE, (name, grade)
