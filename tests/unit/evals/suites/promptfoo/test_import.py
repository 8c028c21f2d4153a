from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.bundle.prompts import PromptFile
from fairway.errors import ProjectFileError
from fairway.evals.assertions.check import check
from fairway.evals.suites.load import parse_suite
from fairway.evals.suites.promptfoo.convert import import_promptfoo
from fairway.evals.suites.promptfoo.files import import_files, import_text
from fairway.evals.suites.promptfoo.values import Imported, Loss, NotTaken
from fairway.evals.trials import Observed
from fairway.evals.values import Case, Found, Reply
from fairway.validate import validate
from fairway.yaml_file import parse_yaml

CONFIG = """\
description: Shop assistant
prompts: ["Answer {{ name }} in {{lang}}: {{question}}"]
providers: [openai:chat:gpt-x]
defaultTest:
  vars: {lang: English}
  assert:
    - {type: not-icontains, value: as an AI}
tests:
  - description: Tells the status
    vars: {name: Ada, question: "Where is {{ name }}'s order?"}
    metadata: {topic: orders, tags: [smoke]}
    threshold: 0.5
    assert:
      - {type: contains, value: shipped, weight: 2, metric: facts}
      - {type: javascript, value: "output.length < 200"}
      - $ref: '#/assertionTemplates/polite'
  - vars: {name: [Ada, Grace], question: yes, when: 2024-01-01}
    options: {prefix: "Hi. "}
    assert: [{type: javascript, value: "output.includes('yes')"}]
assertionTemplates:
  polite: {type: llm-rubric, value: 'Is polite to {{name}}'}
evaluateOptions: {repeat: 3}
"""


def run(config: str, **files: str) -> Imported:
    content = {"shop/promptfooconfig.yaml": config} | {f"shop/{path}": text for path, text in files.items()}
    return import_promptfoo("shop/promptfooconfig.yaml", content, lambda path: content[path].encode())


def cases(imported: Imported) -> list[Case]:
    found: list[Case] = []
    for path, text in import_files(imported).items():
        if path.startswith("evals/suites/"):
            found.extend(parse_suite(text.encode(), file=path).cases)
    return found


def lost(imported: Imported, loss: Loss = Loss.CHECK) -> list[NotTaken]:
    return [one for one in imported.not_taken if one.loss is loss]


def test_a_configuration_becomes_a_suite_that_asks_and_checks_the_same():
    imported = run(CONFIG)
    first, *table = cases(imported)
    assert [suite.name for suite in imported.suites] == ["shop-assistant"]
    assert first.turns == ("Answer Ada in English: Where is Ada's order?",)
    assert (first.id, first.name, first.threshold) == ("tells-the-status", "Tells the status", 0.5)
    assert (first.tags, first.repeat) == (("topic=orders", "smoke"), 3)
    assert [(one.name, one.value, one.weight, one.metric) for one in first.assertions if one.type != "todo"] == [
        ("not-icontains", "as an AI", 1.0, None),
        ("contains", "shipped", 2.0, "facts"),
        ("llm-rubric", "Is polite to Ada", 1.0, None),
    ]
    assert [case.turns[0] for case in table] == ["Hi. Answer Ada in English: yes", "Hi. Answer Grace in English: yes"]
    assert [one.name for one in table[0].assertions] == ["not-icontains", "contains"]
    assert table[0].variables["when"] == "2024-01-01"
    assert len({case.family for case in table}) == 1


def test_an_assertion_that_cannot_be_taken_is_listed_with_its_line_and_keeps_its_case_from_passing():
    imported = run(CONFIG)
    (one,) = lost(imported)
    assert (one.file, one.line, one.what) == ("shop/promptfooconfig.yaml", 15, "javascript output.length < 200")
    first = cases(imported)[0]
    (todo,) = [each for each in first.assertions if each.type == "todo"]
    reply = Observed(case=first, replies=(Reply(text="It is shipped."),))
    assert check(todo, reply).found is Found.UNKNOWN
    assert "javascript output.length < 200" in import_text(imported, import_files(imported))


@pytest.mark.parametrize(
    ("assertion", "why"),
    [
        ("{type: javascript, value: 'output.length > 3 && {{ x }}'}", "JavaScript"),
        ("{type: javascript, value: \"output.includes('a') || true\"}", "JavaScript"),
        ("{type: javascript, value: \"output.includes('a')\", threshold: 0.5}", "JavaScript"),
        ("{type: contains, value: x, transform: output.trim()}", "changes the reply"),
        ("{type: llm-rubric, value: x, rubricPrompt: y}", "judge's prompt of its own"),
        ("{type: moderation}", "moderation service"),
        ("{type: containz, value: x}", "did you mean 'contains'?"),
        ("{type: regex, value: '('}", "regular expression"),
        ("{type: contains}", "needs a 'value'"),
        ("{type: python, value: file://missing.py}", "there is no file shop/missing.py"),
        ("{type: python, value: file://../../out.py}", "leads out of the project"),
        ("{type: is-json, value: file://schema.js}", "JavaScript is not run"),
        ("{type: contains, value: '{{ nobody }}'}", "there is no variable 'nobody'"),
        ("{type: contains, value: x, unheard: of}", "'unheard', which Fairway does not read"),
        ("{type: 'promptfoo:redteam:pii', metric: PII}", "red team"),
        ("just text", "is no assertion with a type"),
    ],
)
def test_whatever_cannot_be_checked_becomes_a_todo_with_the_reason(assertion, why):
    test = f"  - vars: {{x: y}}\n    assert:\n      - {{type: contains, value: ok}}\n      - {assertion}\n"
    imported = run(f"prompts: [hi]\ntests:\n{test}")
    (one,) = lost(imported)
    assert why in one.why
    assert one.line == (3 if "nobody" in assertion or "just text" in assertion else 6)
    (case,) = cases(imported)
    assert [each.type for each in case.assertions] == ["contains", "todo"]


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        ("output.includes('a b')", ("contains", "a b")),
        ('return !output.includes("it\'s");', ("not-contains", "it's")),
        ("output.toLowerCase().includes('yes')", ("icontains", "yes")),
        ("output.startsWith('Ahoy')", ("starts-with", "Ahoy")),
    ],
)
def test_javascript_that_says_exactly_what_an_assertion_says_is_taken_as_that(code, taken):
    imported = run(
        f"prompts: [hi]\ntests:\n  - assert:\n      - type: javascript\n        value: |-\n          {code}\n"
    )
    assert lost(imported) == []
    assert [(one.name, one.value) for one in cases(imported)[0].assertions] == [taken]


def test_lower_cased_text_is_compared_as_there_so_upper_case_in_the_code_is_not_taken():
    imported = run(
        "prompts: [hi]\ntests: [{assert: [{type: javascript, value: \"output.toLowerCase().includes('Yes')\"}]}]"
    )
    assert [one.what.split()[0] for one in lost(imported)] == ["javascript"]


def test_a_test_that_checks_nothing_stays_unknown_until_somebody_says_what_is_right():
    imported = run("prompts: [hi]\ntests: [{vars: {a: b}}]")
    assert [one.what for one in lost(imported)] == ["assert"]
    assert [each.type for each in cases(imported)[0].assertions] == ["todo"]


def test_a_threshold_of_zero_which_passes_everything_there_decides_nothing_here():
    imported = run(
        "prompts: [hi]\ntests: [{assert: [{type: similar, value: x, threshold: 0}, {type: contains, value: y}]}]"
    )
    assert [(one.type, one.weight) for one in cases(imported)[0].assertions] == [("similar", 0.0), ("contains", 1.0)]


def test_a_score_with_a_threshold_of_zero_counts_where_a_sum_of_scores_decides():
    scored = "{type: similar, value: x, threshold: 0}"
    of_case = f"{{threshold: 0.9, assert: [{scored}, {{type: contains, value: y}}]}}"
    of_set = f"{{assert: [{{type: assert-set, threshold: 0.9, assert: [{scored}, {{type: contains, value: y}}]}}]}}"
    first, second = cases(run(f"prompts: [hi]\ntests: [{of_case}, {of_set}]"))
    assert [one.weight for one in first.assertions] == [1.0, 1.0]
    assert [one.weight for one in second.assertions[0].members] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("assertion", "threshold"),
    [
        ("{type: llm-rubric, value: x, threshold: 0}", None),  # the judge says no by itself
        ("{type: not-llm-rubric, value: x, threshold: 0}", None),
        ("{type: model-graded-closedqa, value: x, threshold: 0}", None),
        ("{type: python, value: 'len(output) < 9', threshold: 0}", None),
        ("{type: contains, value: x, threshold: 0}", None),  # does not look at it
        ("{type: levenshtein, value: x, threshold: 0}", 0.0),  # not one edit
        ("{type: cost, threshold: 0}", 0.0),
    ],
)
def test_a_threshold_of_zero_that_does_not_pass_everything_there_does_not_here(assertion, threshold):
    (found,) = cases(run(f"prompts: [hi]\ntests: [{{assert: [{assertion}]}}]"))[0].assertions
    assert (found.weight, found.threshold) == (1.0, threshold)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("tests: [{assert: {type: contains, value: b}}]", "assert"),
        ("tests: [{assert: 'file://checks.yaml'}]", "assert"),
        ("defaultTest: [{assert: [{type: contains, value: c}]}]\ntests: [{}]", "defaultTest"),
        ("defaultTest: file://promptfooconfig.yaml:x\ntests: [{}]", "defaultTest"),
        ("defaultTest: {assertScoringFunction: 'file://score.js'}\ntests: [{}]", "assertScoringFunction"),
        ("tests: [{assert: [{type: todo}]}]", "todo"),
        ("tests: [{assert: [{type: similar, value: a, threshold: false}]}]", "similar a"),
        ("tests: [{assert: [{type: not-similar, value: a, threshold: 0}]}]", "not-similar a"),
    ],
)
def test_what_is_checked_in_an_unexpected_place_keeps_its_case_from_passing(config, what):
    kept = "{type: contains, value: kept}"
    if "tests: [{}]" in config:
        config = config.replace("{}", f"{{assert: [{kept}]}}")
    imported = run(f"prompts: [hi]\n{config}")
    assert [one.what for one in lost(imported)] == [what]
    assert "todo" in [one.type for one in cases(imported)[0].assertions]


@pytest.mark.parametrize("tests", ["", "[]", "file://empty.csv", "file://empty.jsonl"])
def test_no_tests_are_one_that_checks_nothing_and_holds(tests):
    imported = run(f"prompts: [hi]\ntests: {tests}", **{"empty.csv": "a,__expected\n", "empty.jsonl": ""})
    assert [each.type for each in cases(imported)[0].assertions] == ["todo"]
    assert [one.what for one in lost(imported)] == ["assert"]


TWICE = "assert: [{type: contains, value: a}]"


@pytest.mark.parametrize("key", ["transform", "postprocess"])
@pytest.mark.parametrize("place", ["defaultTest", "tests"])
def test_what_changes_the_reply_before_it_is_checked_keeps_its_case_from_passing(key, place):
    options = f"options: {{{key}: output.trim()}}"
    checked = "assert: [{type: contains, value: a}]"
    test = (
        f"tests: [{{{checked}, {options}}}]"
        if place == "tests"
        else f"tests: [{{{checked}}}]\ndefaultTest: {{{options}}}"
    )
    imported = run(f"prompts: [hi]\n{test}")
    assert [one.what for one in lost(imported)] == [f"options.{key}"]
    assert [one.type for one in cases(imported)[0].assertions] == ["contains", "todo"]


@pytest.mark.parametrize(("kind", "kept"), [("llm-rubric", ["llm-rubric", "todo"]), ("contains", ["contains"])])
def test_a_judges_prompt_of_its_own_concerns_what_is_judged(kind, kept):
    test = f"{{assert: [{{type: {kind}, value: a}}], options: {{rubricPrompt: strictly}}}}"
    assert [one.type for one in cases(run(f"prompts: [hi]\ntests: [{test}]"))[0].assertions] == kept


def test_a_key_that_is_there_twice_is_refused_so_that_the_first_is_not_lost():
    with pytest.raises(ProjectFileError, match="'assert' is there twice"):
        run(f"prompts: [hi]\ntests:\n  - {TWICE}\n    {TWICE}\n")
    said = '[{"vars": {}, "assert": [{"type": "contains", "value": "a"}], "assert": []}]'
    imported = run("prompts: [hi]\ntests: file://t.json", **{"t.json": said})
    (found,) = lost(imported, Loss.CASE)
    assert "'assert' is there twice" in found.why


@pytest.mark.parametrize("prompts", ["", "[]"])
def test_without_prompts_a_test_is_asked_by_its_variable_as_there(prompts):
    imported = run(f"prompts: {prompts}\ntests: [{{vars: {{prompt: hi}}, assert: [{{type: contains, value: a}}]}}]")
    assert [case.turns for case in cases(imported)] == [("hi",)]


@pytest.mark.parametrize("kind", ["contains", "python"])
def test_a_value_that_names_several_files_is_not_only_the_first(kind):
    imported = run(
        f"prompts: [hi]\ntests: [{{assert: [{{type: {kind}, value: 'file://c/*'}}]}}]", **{"c/a.py": "", "c/b.py": ""}
    )
    assert [one.why for one in lost(imported)] == ["names several files"]


def test_a_file_of_tests_may_name_another():
    nested = {"t.yaml": "tests: file://u.yaml", "u.yaml": "[{assert: [{type: contains, value: a}]}]"}
    imported = run("prompts: [hi]\ntests: file://t.yaml", **nested)
    assert [one.value for one in cases(imported)[0].assertions] == ["a"]


def test_a_variable_that_names_several_files_is_a_case_of_each():
    for written in ("file://d/*.txt", "[file://d/a.txt, file://d/b.txt]"):
        imported = run(
            f"prompts: ['{{{{x}}}}']\ntests: [{{vars: {{x: {written}}}, assert: [{{type: contains, value: y}}]}}]",
            **{"d/a.txt": "A", "d/b.txt": "B"},
        )
        assert [case.turns for case in cases(imported)] == [("A",), ("B",)]


def test_default_assertions_that_a_test_switches_off_are_not_its():
    imported = run(
        "prompts: [hi]\ndefaultTest: {assert: [{type: contains, value: a}]}\n"
        "tests: [{options: {disableDefaultAsserts: true}, assert: [{type: contains, value: b}]}]"
    )
    assert [one.value for one in cases(imported)[0].assertions] == ["b"]


def test_a_number_of_repeats_that_cannot_be_is_told():
    imported = run("prompts: [hi]\nevaluateOptions: {repeat: 500}\ntests: [{assert: [{type: contains, value: b}]}]")
    assert [one.what for one in lost(imported, Loss.SETTING)] == ["repeat: 500"]


@pytest.mark.parametrize(
    ("test", "what", "why"),
    [
        ("{vars: {a: file://photo.jpg}}", "vars.a", "no text"),
        ("{vars: {a: file://gone.txt}}", "vars.a", "there is no file shop/gone.txt"),
        ("{vars: file://vars.yaml}", "vars", "other files"),
        ("{vars: {a: b}, options: {transformVars: x}}", "options.transformVars", "by code"),
        ("{providerOutput: hello}", "providerOutput", "recorded"),
        ("{vars: {a: ''}}", "test case-", "must not be empty"),
        ("file://tests.py:make", "tests file://tests.py:make", "by code"),
        ("https://example.com/tests.csv", "tests https://example.com/tests.csv", "another machine"),
        ("file://none*.yaml", "tests file://none*.yaml", "there is no file"),
    ],
)
def test_a_test_that_cannot_be_asked_is_left_out_and_listed(test, what, why):
    (one,) = lost(run(f"prompts: ['{{{{a}}}}']\ntests:\n  - {test}\n"), Loss.CASE)
    assert one.what.startswith(what)
    assert why in one.why
    assert one.line in (2, 3)


def test_tests_stand_in_files_of_every_kind():
    imported = run(
        "prompts: ['{{q}}']\n"
        "tests: [file://more/*.yaml, tests.csv, rows.jsonl, {vars: {q: inline}, assert: [{type: is-json}]}]",
        **{
            "more/a.yaml": "- vars: {q: file://q.txt}\n  assert: [{type: contains, value: one}]\n",
            "q.txt": "from a file\n",
            "tests.csv": (
                "q,__expected,__expected2,__prefix,__metadata:kind[]\n"
                'csv,contains: two,javascript: output,Say ,"a\\,b,c"\n'
            ),
            "rows.jsonl": '{"vars": {"q": "line"}, "assert": [{"type": "equals", "value": "three"}]}\n',
        },
    )
    first, second, third, fourth = cases(imported)
    assert [case.turns[0] for case in (second, third, fourth)] == ["Say csv", "line", "inline"]
    assert second.tags == ("kind=a,b", "kind=c")
    assert [one.type for one in second.assertions] == ["contains", "todo"]
    assert first.turns == ("from a file",)
    assert [(one.file, one.line) for one in lost(imported)] == [("shop/tests.csv", 2)]


def test_a_table_without_expectations_is_variables_all_the_same():
    imported = run("prompts: ['Say {{id}} {{tags}}']\ntests: t.csv", **{"t.csv": "id,tags\n7,x\n"})
    assert [case.turns[0] for case in cases(imported)] == ["Say 7 x"]


def test_prompts_stand_in_files_and_a_chat_becomes_turns_and_a_prompt():
    imported = run(
        "prompts: [file://p.txt, file://chat.json, {raw: 'Hello {{a}}', label: short}, file://p.py:make]\n"
        "tests: [{vars: {a: b, shop: s}, assert: [{type: contains, value: x}]}]",
        **{
            "p.txt": "One {{a}}\n---\nTwo {{a}}\n",
            "chat.json": (
                '[{"role": "system", "content": "You work for {{shop}}."}, {"role": "user", "content": "Hi {{a}}"}]'
            ),
        },
    )
    assert [suite.name for suite in imported.suites] == ["shop-p", "shop-p-2", "shop-chat", "shop-short"]
    assert [case.turns for case in cases(imported)] == [("One b",), ("Two b",), ("Hi b",), ("Hello b",)]
    files = import_files(imported)
    prompt = validate(PromptFile, parse_yaml(files["prompts/shop-chat/1.0.0.yaml"].encode(), file="p.yaml"))
    assert prompt.template == "You work for {{shop}}."
    assert list(prompt.variables) == ["shop"]
    assert "--target prompt:shop-chat" in import_text(imported, files)
    (made,) = [one for one in lost(imported, Loss.CASE) if one.what.startswith("prompt")]
    assert "by code" in made.why


@pytest.mark.parametrize(
    "chat",
    [
        '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]',
        '[{"role": "user", "content": [{"type": "image_url"}]}]',
        '[{"role": "system", "content": "alone"}]',
        '[{% for m in history %}{"role": "user", "content": "{{ m }}"}{% endfor %}]',
    ],
)
def test_a_chat_that_user_turns_cannot_say_is_listed(chat):
    imported = run("prompts: [file://chat.json]\ntests: [{vars: {a: b}}]", **{"chat.json": chat})
    assert imported.suites == ()
    assert [one.what for one in lost(imported, Loss.CASE)] == ["prompt file://chat.json"]


def test_a_variable_without_a_value_is_sent_as_empty_text_as_there_and_told():
    imported = run("prompts: ['a{{b}}c']\ntests: [{assert: [{type: contains, value: x}]}]")
    assert cases(imported)[0].turns == ("ac",)
    assert [one.what for one in lost(imported, Loss.SETTING)] == ["variable b"]


@pytest.mark.parametrize(
    ("provider", "target", "note"),
    [
        ("openai:gpt-x", "openai:gpt-x", ""),
        ("openai:chat:gpt-x", "openai:gpt-x", ""),
        (
            "{id: 'openai:gpt-x', config: {apiBaseUrl: 'http://127.0.0.1:9/v1/', temperature: 0}}",
            "openai:gpt-x@http://127.0.0.1:9/v1",
            "temperature",
        ),
        ("openai:embedding:e", None, "no chat"),
        ("{anthropic:messages:claude-x: {label: C}}", "anthropic:claude-x", ""),
        ("groq:llama-x", "openai:llama-x@https://api.groq.com/openai/v1", "chat completions"),
        ("exec:./run.sh", None, "stdin"),
        ("file://provider.py", None, "stdin"),
        ("echo", None, "repeats"),
        ("bedrock:x", None, "protocol"),
        ("{label: nameless}", None, "no provider"),
        (
            "{id: 'https://a.example/chat', config: {body: {q: {text: '{{prompt}}'}, stream: false}, "
            "transformResponse: 'json.choices[0].message.content'}}",
            "https://a.example/chat",
            "request.message: /q/text; response.text: /choices/0/message/content; request.extra: stream",
        ),
        (
            "{id: 'https://a.example/chat', config: {body: {q: '{{prompt}}'}, responseParser: 'json.a.map(x)'}}",
            "https://a.example/chat",
            "say where the reply stands",
        ),
        ("{id: 'https://a.example/chat', config: {method: GET}}", None, "POST"),
    ],
)
def test_a_provider_is_a_target_or_says_why_not(provider, target, note):
    imported = run(f"prompts: [hi]\nproviders:\n  - {provider}\ntests: []")
    (found,) = imported.targets
    assert found.target == target
    assert note in found.note


def test_what_else_a_configuration_has_is_listed():
    imported = run(
        "prompts: [hi]\ntests: []\nredteam: {plugins: [pii]}\nscenarios: [{config: [], tests: []}]\nnovel: 1\n"
    )
    assert {(one.loss, one.what, one.line) for one in imported.not_taken} == {
        (Loss.SETTING, "redteam", 3),
        (Loss.SETTING, "novel", 1),
        (Loss.CASE, "scenarios", 4),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is not YAML"),
        ("just: this", "no configuration of promptfoo"),
        ("- a", "no configuration of promptfoo"),
        ("tests: [{assert: [{$ref: '#/nowhere'}]}]", "leads nowhere"),
        ("a: {$ref: '#/a'}\nprompts: []", "circle"),
        ("prompts: " + "[" * 200 + "]" * 200, "nested"),
    ],
)
def test_what_is_no_configuration_is_refused(text, says):
    with pytest.raises(ProjectFileError, match=says):
        run(text)


def test_ids_are_those_of_the_content_so_that_an_import_can_be_repeated():
    text = "prompts: ['{{a}}']\ntests: [{vars: {a: x}}, {vars: {a: y}}, {vars: {a: x}}]"
    first = [case.id for case in cases(run(text))]
    assert first[2] == f"{first[0]}-2"
    assert [case.id for case in cases(run(text.replace("{vars: {a: x}}, {vars: {a: y}}, ", "{vars: {a: y}}, ")))] == [
        first[1],
        first[0],
    ]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(
        ["x", "{{a}}", "{{ b.c }}", "{% if", "file://t.csv", "file://../x", "contains", "javascript", ""]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vars", "assert", "type", "value", "id", "options", "a", "config", "body", "$ref", "raw"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)
configs = st.fixed_dictionaries(
    {"prompts": values | st.just(["Say {{a}}"])},
    optional={
        "tests": st.lists(st.fixed_dictionaries({}, optional={"vars": values, "assert": values, "options": values}))
        | values,
        "providers": values,
        "defaultTest": values,
        "scenarios": values,
        "evaluateOptions": values,
        "metadata": values,
    },
)


@settings(max_examples=150, deadline=None)
@given(configs)
def test_whatever_a_configuration_holds_is_imported_and_read_again_or_refused(config):
    try:
        imported = run(json.dumps(config), **{"t.csv": "a,__expected\n1,contains: x\n"})
    except ProjectFileError:
        return
    found = cases(imported)
    assert len(found) >= imported.cases
    # no case passes by what was lost: each has its todo, or something that is checked
    assert all(case.assertions for case in found)
    import_text(imported, import_files(imported))


@pytest.mark.parametrize("tests", ["a.yaml", "promptfooconfig.yaml"])
def test_tests_that_are_read_inside_themselves_are_listed_and_end(tests):
    imported = run(f"prompts: [hi]\ntests: [{tests}]", **{"a.yaml": "- file://b.yaml\n", "b.yaml": "- file://a.yaml\n"})
    assert [one.why for one in lost(imported, Loss.CASE)] == ["are read inside themselves"]
