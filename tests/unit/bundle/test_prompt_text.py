from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.bundle.contradictions import contradictions, rules_of
from fairway.bundle.splices import find_splices, sounds_untrusted


def delimited(template: str, *names: str) -> list[bool]:
    return [one.delimited for one in find_splices(template, names or ("q",))]


@pytest.mark.parametrize(
    "template",
    [
        "Answer this:\n---\n{{ q }}\n---\n",
        "<question>{{ q }}</question>",
        '<doc id="1">\nSome text: {{ q }} and more\n</doc>',
        "```\n{{ q }}\n```",
        "```json\n{{ q }}\n```",
        '"""{{ q }}"""',
        "'''\n{{ q }}\n'''",
        "=== input ===\n{{ q }}\n=== end ===",
        "<<{{ q }}>>",
        "[[ {{ q }} ]]",
        "{{ q | tojson }}",
        "{{ q | length }} characters",
        "{{ (q ~ n) | tojson }}",
        "{{ q[0].text | trim | tojson }}",
        "{% for d in q %}<doc>{{ d.text }}</doc>{% endfor %}",
        "---\nfirst\n---\n<a>{{ q }}</a>",
        "{% if q %}yes{% endif %}",
    ],
)
def test_text_between_delimiters_or_escaped_is_kept_apart(template):
    assert all(delimited(template))


@pytest.mark.parametrize(
    "template",
    [
        "{{ q }}",
        "Answer: {{ q }}",
        'Answer "{{ q }}"',
        "---\n{{ q }}\n",
        "{{ q }}\n---\n",
        "---\na\n---\n{{ q }}\n",
        "---\na\n---\n{{ q }}\n---\nb\n---\n",
        "<a></a>{{ q }}<b></b>",
        "<a>{{ q }}",
        "<br>{{ q }}",
        "</a>{{ q }}</a>",
        "```\n{{ q }}\n---",
        "{{ q | upper }}",
        "{{ q.text }}",
        "{{ q[0] }}",
        "{% for d in q %}{{ d }}{% endfor %}",
        "{% set x = q %}{{ x }}",
        "{% with x = q %}{{ x }}{% endwith %}",
        "{% with a = 1, x = q %}{{ x }}{% endwith %}",
        "{{ q | e }}",
        "{{ q | escape }}",
        "{{ q ~ (n | length) }}",
        "{{ q ~ n | tojson }}",
        "{{ 'a' if n | length else q }}",
        "{{ q or 'nothing' | tojson }}",
        "{% for a, b in q %}{{ b }}{% endfor %}",
    ],
)
def test_text_that_nothing_keeps_apart_is_found(template):
    assert delimited(template) == [False]


def test_a_splice_is_told_with_its_variable_and_line_also_when_a_loop_renamed_it():
    template = "One\n{% for d in docs %}\n{{ d }}\n{% endfor %}\n<q>{{ q }}</q>"
    found = [(one.variable, one.line, one.delimited) for one in find_splices(template, ("docs", "q"))]
    assert found == [("docs", 3, False), ("q", 5, True)]


def test_trusted_variables_and_attributes_of_the_same_name_are_no_splice():
    assert find_splices("{{ shop }} {{ shop.q }}", ("q",)) == ()


def test_a_template_that_cannot_be_read_has_no_splices():
    assert find_splices("{{ q", ("q",)) == ()


@settings(deadline=None)
@given(st.text(alphabet="<>/aq{}%-`'\"\n =[]|", max_size=60))
def test_any_template_is_read(template):
    find_splices(template, ("q",))


@pytest.mark.parametrize("name", ["question", "user_message", "Document", "chat_history", "raw_html", "search_results"])
def test_names_of_text_from_outside_are_known(name):
    assert sounds_untrusted(name)


@pytest.mark.parametrize("name", ["shop", "language", "question_count", "tone", "return_days", "messages_left"])
def test_other_names_are_not(name):
    assert not sounds_untrusted(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Always ask for the order number.", "Never ask for the order number."),
        ("- You must tell the price", "3. You must not tell the price!"),
        ("Make sure to greet people", "don't greet people"),
        ("You should always name {{ shop }} first", "Under no circumstances name {{ shop }} first"),
    ],
)
def test_a_rule_and_its_opposite_contradict_each_other(one, other):
    ((first, second),) = contradictions(rules_of(one), rules_of("Some text.\n" + other))
    assert (first.wanted, second.wanted, second.line) == (True, False, 2)
    assert len(contradictions(rules_of(f"{one}\n{other}"), rules_of(f"{one}\n{other}"))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Always ask for the order number.", "Never ask for the card number."),
        ("Always ask for the order number.", "Always ask for the order number."),
        ("Never ask.", "Always ask."),
        ("They said to always ask for the number.", "Never ask for the number."),
    ],
)
def test_other_sentences_do_not(one, other):
    assert contradictions(rules_of(one), rules_of(other)) == ()
