"""The table in a file that its author changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway.table_file import TableFile, numbered, read_wire
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

ARMS = tuple(
    Arm(role=role, release=Digest(f"sha256:{role}"), version=role.value, endpoints=("127.0.0.1:1",))
    for role in (Role.STABLE, Role.CANDIDATE)
)
ROUTE = RouteId(agent=AgentName("a"), environment=EnvironmentName("production"))
TABLE = RouteTable(route=ROUTE, fence=ZERO_FENCE, arms=ARMS)


class Written:
    """A file, and the table in force."""

    def __init__(self, path: Path, table: RouteTable = TABLE) -> None:
        self.path = path
        self.write(table)
        self.file = TableFile(path, read_wire)
        self.known = self.file.begin(None)

    def write(self, table: RouteTable) -> None:
        self.path.write_text(json.dumps(table.to_wire()))

    def look(self, *, now: bool = False) -> bool:
        found = self.file.look(self.known, now=now)
        self.known = found or self.known
        return found is not None


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "table.json")


def split(share: int) -> RouteTable:
    return replace(TABLE, split=Parts(share))


def test_a_change_is_in_force_once_it_has_stood_for_a_look_and_has_the_next_number(written: Written) -> None:
    assert str(written.known.fence) == "0.1"
    written.write(split(50_000))
    assert [written.look(), written.look(), written.look()] == [False, True, False]
    assert (str(written.known.fence), written.known.split) == ("0.2", 50_000)


def test_asked_for_it_is_read_at_once(written: Written) -> None:
    written.write(split(50_000))
    assert written.look(now=True)


def test_what_says_the_same_is_the_same_table(written: Written) -> None:
    written.path.write_text(written.path.read_text() + "\n")
    assert not written.look(now=True)
    assert str(written.known.fence) == "0.1"
    assert numbered(TABLE, written.known) == written.known


@pytest.mark.parametrize("text", ["", "{half", "[]", '{"version": 2}', None])
def test_what_is_no_table_leaves_the_one_in_force_until_it_is_mended(written: Written, text: str | None) -> None:
    if text is None:
        written.path.unlink()
    else:
        written.path.write_text(text)
    assert not written.look(now=True)
    assert written.file.error
    written.write(split(1))
    assert written.look(now=True)
    assert written.file.error is None


def test_an_endpoint_that_is_none_is_refused(written: Written) -> None:
    bad = replace(TABLE, arms=(replace(ARMS[0], endpoints=("nowhere",)), ARMS[1]))
    written.write(bad)
    assert not written.look(now=True)
    assert "host:port" in (written.file.error or "")


def test_a_table_with_a_fence_of_its_own_has_to_raise_it(written: Written) -> None:
    written.known = replace(written.known, fence=Fence(term=0, seq=5))
    written.write(replace(split(7), fence=Fence(term=0, seq=5)))
    assert not written.look(now=True)
    assert "raise it" in (written.file.error or "")
    written.write(replace(split(7), fence=Fence(term=0, seq=6)))
    assert written.look(now=True)


def test_a_gateway_begins_with_the_newer_of_file_and_disk_and_says_when_that_is_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(replace(split(7), fence=Fence(term=0, seq=2)).to_wire()))
    kept = replace(TABLE, fence=Fence(term=0, seq=3))
    file = TableFile(path, read_wire)
    assert file.begin(kept) is kept
    assert "0.2 is not above 0.3" in (file.error or "")
    other = replace(kept, route=RouteId(agent=AgentName("b"), environment=EnvironmentName("production")))
    assert TableFile(path, read_wire).begin(other).split == 7
    assert TableFile(path, read_wire).begin(replace(kept, fence=Fence(term=0, seq=1))).split == 7
