"""Every kind of assertion, by the name a suite writes: what its value must be and how it is decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.evals.assertions import (
    json_kinds,
    likeness_kinds,
    readers,
    script_values,
    state_kinds,
    text_kinds,
    tool_kinds,
    tool_values,
    trajectory_kinds,
    usage_kinds,
)
from fairway.evals.assertions.kind import How, Kind, Threshold
from fairway.evals.assertions.patterns import compiled
from fairway.evals.assertions.pointers import pointer, pointers
from fairway.evals.judges.kinds import JUDGE_KINDS


def _pattern(value: Any) -> str:
    found = readers.text(value)
    compiled(found)
    return found


_AT = {"at": pointer, "ignore": pointers}

_CHECKED = (
    # -- the text of a reply
    Kind(name="equals", value=state_kinds.literal, check=text_kinds.check_equals, summary="the reply is the value"),
    Kind(name="contains", value=readers.phrase, check=text_kinds.check_contains, summary="the value is in the reply"),
    Kind(
        name="icontains",
        value=readers.phrase,
        check=text_kinds.check_icontains,
        summary="the value is in the reply, whatever the case",
    ),
    Kind(
        name="contains-any",
        value=readers.phrases,
        check=text_kinds.check_contains_any,
        summary="one of the values is in the reply",
    ),
    Kind(
        name="contains-all",
        value=readers.phrases,
        check=text_kinds.check_contains_all,
        summary="each of the values is in the reply",
    ),
    Kind(
        name="icontains-any",
        value=readers.phrases,
        check=text_kinds.check_icontains_any,
        summary="one of the values is in the reply, whatever the case",
    ),
    Kind(
        name="icontains-all",
        value=readers.phrases,
        check=text_kinds.check_icontains_all,
        summary="each of the values is in the reply, whatever the case",
    ),
    Kind(
        name="starts-with",
        value=readers.phrase,
        check=text_kinds.check_starts_with,
        summary="the reply starts with the value",
    ),
    Kind(
        name="regex",
        value=_pattern,
        check=text_kinds.check_regex,
        summary="the expression is found in the reply",
    ),
    Kind(
        name="word-count",
        value=readers.count_or_range,
        check=text_kinds.check_word_count,
        summary="the reply has so many words: a number, or {min, max}",
    ),
    Kind(name="is-refusal", check=text_kinds.check_is_refusal, summary="the reply declines what was asked (English)"),
    Kind(
        name="todo",
        value=readers.text,
        check=text_kinds.check_todo,
        summary="what a person still has to write: unknown until then, so that nothing passes without it",
    ),
    # -- JSON
    Kind(
        name="is-json",
        value=json_kinds.schema,
        value_needed=False,
        check=json_kinds.check_is_json,
        summary="the whole reply is JSON, and meets the schema when there is one",
    ),
    Kind(
        name="contains-json",
        value=json_kinds.schema,
        value_needed=False,
        check=json_kinds.check_contains_json,
        summary="a JSON object or array is in the reply, one that meets the schema when there is one",
    ),
    # -- likeness
    Kind(
        name="levenshtein",
        value=readers.phrase,
        threshold=Threshold.AMOUNT,
        check=likeness_kinds.check_levenshtein,
        summary="at most threshold (5) characters differ from the value",
    ),
    Kind(
        name="rouge-n",
        value=readers.texts,
        threshold=Threshold.SHARE,
        options={"n": readers.whole(1, 9)},
        check=likeness_kinds.check_rouge_n,
        summary="F1 of shared n-grams (n: 1) is at least threshold (0.75)",
    ),
    Kind(
        name="rouge-1",
        value=readers.texts,
        threshold=Threshold.SHARE,
        check=likeness_kinds.check_rouge_1,
        summary="F1 of shared words is at least threshold (0.75)",
    ),
    Kind(
        name="rouge-2",
        value=readers.texts,
        threshold=Threshold.SHARE,
        check=likeness_kinds.check_rouge_2,
        summary="F1 of shared pairs of words is at least threshold (0.75)",
    ),
    Kind(
        name="rouge-l",
        value=readers.texts,
        threshold=Threshold.SHARE,
        check=likeness_kinds.check_rouge_l,
        summary="F1 of the longest common subsequence of words is at least threshold (0.75)",
    ),
    Kind(
        name="bleu",
        value=readers.texts,
        threshold=Threshold.SHARE,
        check=likeness_kinds.check_bleu,
        summary="BLEU against the value, or several, is at least threshold (0.5)",
    ),
    # -- what it took
    Kind(
        name="cost",
        threshold=Threshold.REQUIRED,
        check=usage_kinds.check_cost,
        summary="all replies cost at most threshold US dollars",
    ),
    Kind(
        name="latency",
        threshold=Threshold.REQUIRED,
        check=usage_kinds.check_latency,
        summary="all replies took at most threshold milliseconds; unknown from the cache",
    ),
    Kind(
        name="tokens",
        value=usage_kinds.tokens_value,
        check=usage_kinds.check_tokens,
        summary="all replies used at most so many tokens: a number, or {min, max, count: total | output}",
    ),
    Kind(
        name="finish-reason",
        value=usage_kinds.finish_value,
        check=usage_kinds.check_finish_reason,
        summary="the last reply ended for this reason: stop, length, tool_calls, content_filter",
    ),
    # -- tool calls
    Kind(
        name="tool-calls",
        value=tool_values.tool_calls_value,
        threshold=Threshold.SHARE,
        check=tool_kinds.check_tool_calls,
        summary="the calls are the expected ones, each expectation met by its own call",
    ),
    Kind(
        name="tool-call-f1",
        value=tool_kinds.names,
        threshold=Threshold.SHARE,
        check=tool_kinds.check_tool_call_f1,
        summary="F1 of the names of the tools called is at least threshold (1)",
    ),
    Kind(
        name="is-valid-openai-tools-call",
        value=tool_kinds.declared_tools,
        value_needed=False,
        check=tool_kinds.check_valid_calls,
        summary="tools were called, each with readable arguments, which fit the declarations when there are any",
    ),
    Kind(
        name="trajectory:tool-used",
        value=trajectory_kinds.tool_used,
        check=trajectory_kinds.check_tool_used,
        summary="each named tool was called, or one between min and max times",
    ),
    Kind(
        name="trajectory:tool-sequence",
        value=trajectory_kinds.tool_sequence,
        check=trajectory_kinds.check_tool_sequence,
        summary="the tools were called in this order (mode: in_order, or exact: and no others)",
    ),
    Kind(
        name="trajectory:tool-args-match",
        value=trajectory_kinds.tool_args,
        check=trajectory_kinds.check_tool_args,
        summary="some call of the tool has these arguments (mode: partial or exact)",
    ),
    Kind(
        name="trajectory:step-count",
        value=trajectory_kinds.step_count,
        check=trajectory_kinds.check_step_count,
        summary="between min and max tool calls were made",
    ),
    # -- the outcome
    Kind(
        name="state",
        value=state_kinds.state_value,
        check=state_kinds.check_state,
        summary="at each JSON pointer of the final state stands what is expected",
    ),
    Kind(
        name="state-equals",
        value=state_kinds.json_value,
        options=_AT,
        check=state_kinds.check_state_equals,
        summary="the final state, or the part at a pointer, is the value and nothing more",
    ),
    Kind(
        name="state-hash",
        value=state_kinds.digest,
        options=_AT,
        check=state_kinds.check_state_hash,
        summary="the SHA-256 of the final state's canonical JSON, or of the part at a pointer, is the value",
    ),
)

_MEASURED = (
    Kind(
        name="python",
        how=How.SCRIPTED,
        value=script_values.python_value,
        threshold=Threshold.SHARE,
        options={"config": readers.anything},
        summary="file.py:function, an expression or lines of Python say so, in a process of its own",
    ),
    Kind(
        name="webhook",
        how=How.CALLED,
        value=script_values.web_address,
        threshold=Threshold.SHARE,
        options={"config": readers.anything},
        summary="the service at this address says so: {pass, score, reason}",
    ),
    Kind(
        name="similar",
        how=How.CALLED,
        value=readers.texts,
        threshold=Threshold.SHARE,
        summary="cosine similarity of the embeddings of reply and value is at least threshold (0.75)",
    ),
)

_JUDGED = tuple(
    Kind(
        name=name,
        how=How.JUDGED,
        value=readers.anything,
        value_needed=False,
        threshold=Threshold.SHARE,
        options=dict.fromkeys(kind.options, readers.anything),
        summary=kind.task.partition(".")[0],
    )
    for name, kind in JUDGE_KINDS.items()
)
"""What their values and options must be is said by ``judges.kinds.judge_problem``."""

ASSERT_SET = Kind(
    name="assert-set",
    how=How.SET,
    threshold=Threshold.SHARE,
    summary="all of assert: hold, or with a threshold, so much of their weighted score is reached",
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (*_CHECKED, *_MEASURED, *_JUDGED, ASSERT_SET)} | {
    "similar:cosine": next(kind for kind in _MEASURED if kind.name == "similar"),
}
"""By every name a suite may write, without ``not-``."""

UNSUPPORTED: Mapping[str, str] = {
    "javascript": "runs JavaScript; write it as a python assertion",
    "ruby": "runs Ruby; write it as a python assertion",
    "similar:dot": "is no similarity between 0 and 1; use similar",
    "similar:euclidean": "is no similarity between 0 and 1; use similar",
    "is-sql": "needs an SQL parser; use a python assertion",
    "contains-sql": "needs an SQL parser; use a python assertion",
    "is-xml": "needs an XML parser; use a python assertion",
    "contains-xml": "needs an XML parser; use a python assertion",
    "is-html": "needs an HTML parser; use a python assertion",
    "contains-html": "needs an HTML parser; use a python assertion",
    "gleu": "use bleu or rouge-n",
    "meteor": "use rouge-l",
    "perplexity": "needs the probabilities of tokens, which no agent reports",
    "perplexity-score": "needs the probabilities of tokens, which no agent reports",
    "classifier": "needs a classifier; use choice, or a webhook",
    "moderation": "needs a moderation service; use a webhook",
    "guardrails": "needs a guardrail service; use a webhook",
    "pi": "needs a service of its vendor; use a webhook",
    "is-valid-function-call": "names a format OpenAI has retired; use is-valid-openai-tools-call",
    "is-valid-openai-function-call": "names a format OpenAI has retired; use is-valid-openai-tools-call",
    "agent-rubric": "asks another agent; use llm-rubric, or a webhook",
    "search-rubric": "searches the web; use llm-rubric with a reference",
    "context-relevance": "grades retrieval, not the reply; use context-recall or context-faithfulness",
    "conversation-relevance": "use conversation-rubric",
    "select-best": "chooses among outputs of several providers by a criterion; use pairwise with a reference answer",
    "max-score": "compares outputs of several providers; the gate compares candidate and baseline",
    "skill-used": "needs a trace; use trajectory:tool-used",
    "trace-span-count": "needs a trace; use trajectory:step-count",
    "trace-span-duration": "needs a trace; use latency",
    "trace-error-spans": "needs a trace",
    "trajectory:goal-success": "use conversation-rubric with the goal as its rubric",
    "human": "needs a person",
}
"""What the field knows and Fairway does not, and what to use instead: told when a suite is read, never dropped."""
