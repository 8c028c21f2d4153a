"""Law 3: a larger weight only adds users; a restart moves nobody."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.traffic.bucket import bucket, highest_below, unit_hash

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "buckets.json").read_text())
SALTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
KEYS = st.text(max_size=40)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: f"{v['salt']!r}/{v['key']!r}"[:40])
def test_the_golden_vectors_hold(vector: dict[str, object]) -> None:
    assert bucket(str(vector["salt"]), str(vector["key"])) == vector["bucket"]
    assert unit_hash(str(vector["key"])) == vector["unit"]


@given(SALTS, KEYS, st.integers(0, 100_000), st.integers(0, 100_000))
def test_a_larger_split_only_adds_units(salt: str, key: str, one: int, other: int) -> None:
    small, large = sorted((one, other))
    number = bucket(salt, key)
    assert 0 <= number < 100_000
    assert not (number < small) or number < large


@given(SALTS, KEYS, st.integers(0, 100_000))
def test_comparing_the_hash_decides_as_the_bucket_does(salt: str, key: str, split: int) -> None:
    number = bucket(salt, key)
    digest = blake2b(f"{salt}\0{key}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    for limit in {split, number, number + 1, 0, 100_000}:
        assert (digest < highest_below(limit)) == (number < limit)


@given(st.integers(0, 100_000))
def test_the_limit_is_exact_at_its_edge(split: int) -> None:
    limit = int.from_bytes(highest_below(split), "big")
    assert split == 0 or ((limit - 1) * 100_000) >> 64 < split or split == 100_000
    assert split == 100_000 or (limit * 100_000) >> 64 >= split


def test_another_process_computes_the_same_bucket() -> None:
    code = "from fairway.traffic.bucket import bucket; print(bucket('r-1', 'user-7'))"
    for seed in ("0", "1", "random"):
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert int(run.stdout) == bucket("r-1", "user-7")


@pytest.mark.parametrize("split", [1_000, 5_000, 30_000, 50_000])
def test_the_share_of_candidate_units_is_binomial(split: int) -> None:
    count = 20_000
    hits = sum(bucket("rollout-3", f"conversation-{number}") < split for number in range(count))
    share = split / 100_000
    assert abs(hits - count * share) < 4 * math.sqrt(count * share * (1 - share))


def test_another_salt_shuffles_who_goes_first() -> None:
    first = {n for n in range(5_000) if bucket("rollout-1", str(n)) < 10_000}
    second = {n for n in range(5_000) if bucket("rollout-2", str(n)) < 10_000}
    overlap = len(first & second)  # independent: 1 % of 5,000
    assert abs(overlap - 50) < 4 * math.sqrt(50)


def test_a_salt_with_nul_is_refused_because_it_would_be_ambiguous() -> None:
    with pytest.raises(ValueError, match="NUL"):
        bucket("a\0b", "c")


def test_salt_and_key_cannot_run_into_each_other() -> None:
    assert bucket("ab", "c") != bucket("a", "bc")
