"""``fairway demo`` does what it promises; the whole main job, as a user runs it."""

from __future__ import annotations

import json
import os

import pytest

from fairway.demo.commands import execute, fairway


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
async def test_the_demo_promotes_the_good_release_and_catches_the_bad_ones(tmp_path):
    done = await execute(fairway("demo", "--dir", str(tmp_path / "shop"), "-o", "json"), cwd=tmp_path)
    assert done.stdout, done.stderr[-3000:]
    result = json.loads(done.stdout)
    unmet = [each for each in result["expectations"] if not each["met"]]
    assert unmet == [], done.stderr[-3000:]
    assert done.code == 0
    assert len(result["expectations"]) >= 12
    assert result["traffic"]["failed"] == 0
    assert result["exposure"]["seconds_decision_to_confirmed"] <= 1.0
    assert result["exposure"]["failed_conversations"] > 0, "the bad release did harm before it was stopped"


async def check_chapter(tmp_path, chapter):
    done = await execute(
        fairway("demo", "--chapter", chapter, "--dir", str(tmp_path / "shop"), "-o", "json"), cwd=tmp_path
    )
    assert done.stdout, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert [each for each in result["expectations"] if not each["met"]] == [], done.stderr[-3000:]
    assert done.code == 0
    assert len(result["expectations"]) >= 10
    assert result["traffic"]["failed"] == 0
    served = result["traffic"]["by_release"]
    if chapter == "shadow":
        assert "1.2.0" not in served, "what failed as a shadow answered nobody"
    else:
        assert served["1.2.0"]["apologised"] > 0, "the bad green did harm before it was switched back"
        assert result["exposure"]["seconds_decision_to_confirmed"] <= 1.0


if os.environ.get("FAIRWAY_CHAPTERS") == "all":  # CI; the main story, above, has most of what they have

    @pytest.mark.slow
    @pytest.mark.xdist_group("e2e")
    @pytest.mark.parametrize("chapter", ["blue-green", "shadow"])
    async def test_each_chapter_meets_its_own_expectations(tmp_path, chapter):
        await check_chapter(tmp_path, chapter)
