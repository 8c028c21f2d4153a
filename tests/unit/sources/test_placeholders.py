"""What stands between double braces: known names alone, escaped for where they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.sources.placeholders import KNOWN, Arm, Names, fill, needs_stable, placeholders_in
from fairway.sources.values import Question, SourceKind

NAMES = Names(
    candidate=Arm(version="1.1.0", release="sha256:cc", effective="sha256:0c"),
    stable=Arm(version="1.0.0", release="sha256:bb", effective="sha256:0b"),
    agent="support",
    environment="production",
    rollout="1.1.0-r1",
)


def query(text, **more):
    return Question(kind=SourceKind.PROMETHEUS, url="http://127.0.0.1:9090", query=text, **more)


def test_every_known_placeholder_has_a_value_about_either_arm():
    everything = " ".join(f"{{{{{name}}}}}" for name in KNOWN)
    for role in ("candidate", "stable"):
        filled = fill(query(everything), NAMES, role=role)
        assert filled is not None
        assert "{{" not in filled.query


def test_arm_is_the_one_that_is_asked_about():
    asked = query('up{release="{{arm}}", role="{{ arm.role }}", digest="{{arm.release}}"}')
    assert fill(asked, NAMES, role="candidate").query == 'up{release="1.1.0", role="candidate", digest="sha256:cc"}'
    assert fill(asked, NAMES, role="stable").query == 'up{release="1.0.0", role="stable", digest="sha256:bb"}'


def test_stable_has_its_own_query_where_it_is_given():
    asked = query('new{v="{{candidate}}"}', stable_query='old{v="{{stable}}"}')
    assert fill(asked, NAMES, role="candidate").query == 'new{v="1.1.0"}'
    assert fill(asked, NAMES, role="stable").query == 'old{v="1.0.0"}'


def test_an_unknown_placeholder_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match=r"candidat.*did you mean \{\{candidate\}\}"):
        placeholders_in("{{candidat}}")
    with pytest.raises(ValueError, match="not closed"):
        placeholders_in("{{candidate")
    assert placeholders_in('sum(up{a="b"})') == frozenset()


def test_values_are_escaped_where_they_stand():
    hostile = Names(
        candidate=Arm(version='1"} or vector(0) #', release="a/b?c", effective=""),
        stable=None,
        agent="support",
        environment="production",
        rollout="r",
    )
    assert fill(query('up{v="{{candidate}}"}'), hostile, role="candidate").query == 'up{v="1\\"} or vector(0) #"}'
    asked = Question(kind=SourceKind.HTTP, url="http://127.0.0.1/{{candidate.release}}/ok")
    assert fill(asked, hostile, role="candidate").url == "http://127.0.0.1/a%2Fb%3Fc/ok"


def test_without_stable_a_question_that_names_it_cannot_be_asked():
    first = Names(candidate=NAMES.candidate, stable=None, agent="a", environment="e", rollout="r")
    assert fill(query("{{stable.version}}"), first, role="candidate") is None
    assert fill(query("{{arm}}"), first, role="stable") is None
    assert needs_stable(query("{{stable.version}}"))
    assert not needs_stable(query("{{candidate}} {{arm}}"))


@given(st.text(max_size=60))
def test_any_text_is_either_refused_in_words_or_filled(text):
    refused = False
    try:
        placeholders_in(text)
    except ValueError:
        refused = True
    assert refused or fill(query(text), NAMES, role="candidate") is not None
