from __future__ import annotations

import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import UserError
from fairway.evals.judges.nonces import Nonces, load_nonces, random_nonces
from fairway.state_dir import StateDir

NONCES = Nonces(b"k" * 32)


@given(content=st.binary(), repeat=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_the_same_content_and_repeat_have_the_same_nonce_and_anything_else_another(content, repeat):
    found = NONCES.nonce("id", content, repeat=repeat)
    assert re.fullmatch(r"[0-9a-f]{16}", found)
    assert found == Nonces(b"k" * 32).nonce("id", content, repeat=repeat)
    others = {
        NONCES.nonce("fence", content, repeat=repeat),
        NONCES.nonce("id", content + b"x", repeat=repeat),
        NONCES.nonce("id", content, repeat=(repeat[0] + 1, repeat[1])),
        NONCES.nonce("id", content, repeat=(repeat[0], repeat[1] + 1)),
        Nonces(b"l" * 32).nonce("id", content, repeat=repeat),
    }
    assert len(others) == 5
    assert found not in others


def test_a_nonce_that_stands_in_the_text_is_not_used():
    first = NONCES.nonce("id", b"text", repeat=(0,))
    assert NONCES.nonce("id", b"text", repeat=(0,), avoid=f"it holds {first}") != first


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path):
    state = StateDir(tmp_path / ".fairway")
    first = load_nonces(state)
    path = state.keys / "judge-nonce.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first.secret) == 32
    assert load_nonces(state).secret == first.secret
    assert [one.name for one in state.keys.iterdir()] == [path.name]
    assert load_nonces(StateDir(tmp_path / "other")).secret != first.secret
    assert random_nonces().secret != first.secret


def test_a_secret_others_can_read_is_refused(tmp_path):
    state = StateDir(tmp_path)
    load_nonces(state)
    (state.keys / "judge-nonce.key").chmod(0o644)
    with pytest.raises(UserError, match="can be read by others") as caught:
        load_nonces(state)
    assert caught.value.code == "key_permissions"


@pytest.mark.parametrize("content", ["", "ab", "no hex", "\u00e9"])
def test_a_file_that_is_no_secret_is_refused(tmp_path, content):
    state = StateDir(tmp_path)
    load_nonces(state)
    (state.keys / "judge-nonce.key").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_nonces(state)
    assert caught.value.code == "judge_nonce"


def test_the_secret_is_never_shown():
    assert "kkkk" not in repr(NONCES)
    with pytest.raises(ValueError, match="32 bytes"):
        Nonces(b"short")
