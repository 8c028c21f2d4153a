"""A route table as people write it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairway.errors import FairwayError
from fairway.project.table_file import read_table_file
from fairway.traffic.fence import ZERO_FENCE
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable

SHORT = """\
agent: support
arms:
  stable: {version: 1.0.0, endpoints: [127.0.0.1:9001]}
  candidate: {version: 1.1.0, endpoints: [127.0.0.1:9002, "[::1]:9003"]}
"""


def read(tmp_path: Path, text: str) -> RouteTable:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    return read_table_file(path)


def test_a_table_of_six_lines_has_what_a_project_has_by_default(tmp_path: Path) -> None:
    table = read(tmp_path, SHORT + "split: 10%\ntimeouts: {total: 2m}\n")
    assert (str(table.route), table.fence, table.split) == ("support/production", ZERO_FENCE, 10_000)
    assert [(arm.role, arm.endpoints) for arm in table.arms] == [
        (Role.STABLE, ("127.0.0.1:9001",)),
        (Role.CANDIDATE, ("127.0.0.1:9002", "[::1]:9003")),
    ]
    assert table.keys[0] == KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id")
    assert table.timeouts.total == 120.0
    assert table.trip is not None
    assert RouteTable.from_wire(json.loads(json.dumps(table.to_wire()))) == table


def test_another_candidate_draws_others_and_a_larger_split_draws_nobody_anew(tmp_path: Path) -> None:
    ten, fifty = (read(tmp_path, SHORT + f"split: {share}\n") for share in ("10%", "50%"))
    other = read(tmp_path, SHORT.replace("1.1.0", "1.2.0") + "split: 10%\n")
    assert ten.salt == fifty.salt != other.salt
    assert read(tmp_path, SHORT + "salt: mine\n").salt == "mine"


def test_a_digest_that_the_agent_says_is_the_arm_s(tmp_path: Path) -> None:
    said = "sha256:" + "ab" * 32
    table = read(tmp_path, SHORT.replace("1.0.0,", f'1.0.0, release: "{said}",'))
    assert table.arms[0].release == said
    assert table.arms[1].release.startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHORT + "splt: 10%\n", "gateway.yaml:5:1: splt: unknown key"),
        (SHORT + "split: 150%\n", "gateway.yaml:5:8: split"),
        (SHORT + "mirror: 5%\n", "gateway.yaml:5:9: mirror: a mirror needs arms.shadow"),
        (SHORT + "port: 8080\n", "gateway.yaml:5:1: port: does not belong into a table"),
        (SHORT + "capture: {share: 1%}\n", "gateway.yaml:5:1: capture"),
        (SHORT.replace("127.0.0.1:9001", "http://127.0.0.1:9001"), "arms.stable.endpoints[0]"),
        (SHORT.replace("127.0.0.1:9001", "127.0.0.1"), "arms.stable.endpoints[0]"),
        (SHORT.replace("1.1.0", "1.0.0"), "two arms have the same version"),
        (SHORT.replace("1.0.0,", "1.0.0, release: v1,"), "arms.stable.release: is no digest"),
        ("agent: support\nsplit: 10%\n", "arms: is required and missing"),
        ("- 1\n", "expected a mapping"),
        ('{"version": 1, "fence": [0, 1]}', "gateway.yaml: route table is malformed"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FairwayError) as told:
        read(tmp_path, text)
    assert said in str(told.value)


def test_a_split_without_a_candidate_is_a_mistake_at_the_split(tmp_path: Path) -> None:
    alone = "\n".join(line for line in SHORT.splitlines() if "candidate" not in line) + "\n"
    assert read(tmp_path, alone).split == 0
    with pytest.raises(FairwayError, match=r"split: a split needs arms\.candidate"):
        read(tmp_path, alone + "split: 10%\n")


def test_a_table_as_a_gateway_keeps_it_is_read_with_its_fence(tmp_path: Path) -> None:
    table = read(tmp_path, SHORT)
    wire = table.to_wire() | {"fence": [3, 4]}
    assert read(tmp_path, json.dumps(wire)) == RouteTable.from_wire(wire)
    assert isinstance(table.arms[0], Arm)
