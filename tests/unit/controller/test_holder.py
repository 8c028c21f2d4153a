"""The lease of a killed controller is taken over at once; that of a living one never."""

from __future__ import annotations

import subprocess
import sys

from fairway.controller.holder import holder_name, is_dead, release_dead_lease
from fairway.ledger import open_ledger
from fairway.testing.rollout_cases import ROUTE


def test_this_process_is_not_dead():
    assert not is_dead(holder_name())


def test_a_process_that_ended_is_dead():
    done = subprocess.run(
        [sys.executable, "-c", "from fairway.controller.holder import holder_name; print(holder_name())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert is_dead(done.stdout.strip())


def test_a_pid_that_was_given_to_another_process_is_not_mistaken_for_the_holder():
    host, pid, _, token = holder_name().split("|")
    assert is_dead("|".join((host, pid, "another boot:1", token)))


def test_holders_of_other_machines_and_unreadable_ones_are_left_to_expire():
    _, pid, mark, token = holder_name().split("|")
    for holder in (f"elsewhere|{pid}|{mark}|{token}", "controller-1", "", "a|b|c|d", f"{holder_name()}|x"):
        assert not is_dead(holder)


def test_a_dead_holders_lease_is_released_and_the_next_term_is_higher(tmp_path):
    with open_ledger(tmp_path / "ledger.db") as ledger:
        host, pid, _, token = holder_name().split("|")
        dead = ledger.acquire_lease(ROUTE, "|".join((host, pid, "another boot:1", token)), seconds=60)
        assert release_dead_lease(ledger, ROUTE)
        taken = ledger.acquire_lease(ROUTE, holder_name(), seconds=60)
        assert taken.term == dead.term + 1


def test_a_living_holders_lease_stays(tmp_path):
    with open_ledger(tmp_path / "ledger.db") as ledger:
        ledger.acquire_lease(ROUTE, holder_name(), seconds=60)
        assert not release_dead_lease(ledger, ROUTE)
        assert ledger.acquire_lease(ROUTE, "another", seconds=60) is None
