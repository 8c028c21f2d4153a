"""The load that judges the gateway has to be right itself."""

from __future__ import annotations

from fairway.testing.checked_load import CheckedLoad, TablesInForce


def test_a_load_never_goes_on_with_another_one_s_conversations() -> None:
    # One after the other, so that a name made of the object's address would come again.
    keys = {CheckedLoad(port=1, tables=TablesInForce()).next().key for _ in range(200)}
    assert len(keys) == 200
