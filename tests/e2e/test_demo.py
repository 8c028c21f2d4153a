"""``fairway demo`` does what it promises; the whole main job, as a user runs it."""

from __future__ import annotations

import json

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
