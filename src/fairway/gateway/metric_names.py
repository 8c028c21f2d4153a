"""What the sums of telemetry are called in metrics: names, labels and base units."""

from __future__ import annotations

from collections.abc import Mapping

SumFamily = tuple[str, str, str, Mapping[str, tuple[str, float]]]
"""Name, help, label (empty: none), and for each sum of the telemetry the label's value and the sum's unit."""

_MICRO = 1e-6

USER_FAMILIES: tuple[SumFamily, ...] = (
    (
        "fairway_gateway_tokens_total",
        "Model tokens, as agents and model APIs said; a request of which nobody said any adds none.",
        "direction",
        {"tokens_in": ("in", 1), "tokens_out": ("out", 1)},
    ),
    (
        "fairway_gateway_cached_tokens_total",
        "Of the tokens that went in, those a model API read from its cache.",
        "",
        {"tokens_cached": ("", 1)},
    ),
    (
        "fairway_gateway_usage_reports_total",
        "Requests whose tokens are those of a model API's usage.",
        "",
        {"usage_reports": ("", 1)},
    ),
    (
        "fairway_gateway_cost_dollars_total",
        "US dollars, as agents said.",
        "",
        {"cost_micros": ("", _MICRO)},
    ),
    (
        "fairway_gateway_value_reports_total",
        "Requests whose agent said a value.",
        "value",
        {"cost_reports": ("cost", 1), "score_reports": ("score", 1), "feedback_reports": ("feedback", 1)},
    ),
    (
        "fairway_gateway_score_total",
        "Scores added up, each from 0 to 1.",
        "",
        {"score_micros": ("", _MICRO)},
    ),
    (
        "fairway_gateway_feedback_total",
        "What users said of conversations added up, each from 0 to 1.",
        "",
        {"feedback_micros": ("", _MICRO)},
    ),
    ("fairway_gateway_tool_calls_total", "Tool calls.", "", {"tools": ("", 1)}),
    ("fairway_gateway_tool_errors_total", "Tool calls that failed.", "", {"tool_errors": ("", 1)}),
    ("fairway_gateway_iterations_total", "Rounds of agents' loops.", "", {"iterations": ("", 1)}),
    ("fairway_gateway_guardrail_hits_total", "Guardrail hits.", "", {"guardrail": ("", 1)}),
    (
        "fairway_gateway_callback_failures_total",
        "Callbacks that could not be delivered.",
        "",
        {"callback_failed": ("", 1)},
    ),
    (
        "fairway_gateway_stream_stalls_total",
        "Gaps in streams of events that were longer than the table's limit.",
        "",
        {"stalls": ("", 1)},
    ),
    ("fairway_gateway_websockets_total", "WebSocket sessions that began.", "", {"websockets": ("", 1)}),
    (
        "fairway_gateway_websockets_cut_total",
        "WebSocket sessions that their arm cut after they had been counted.",
        "",
        {"websockets_cut": ("", 1)},
    ),
    (
        "fairway_gateway_client_aborts_total",
        "Requests whose client left before it had its answer.",
        "",
        {"client_aborted": ("", 1)},
    ),
    (
        "fairway_gateway_samples_total",
        "Requests of sampled conversations, by whether somebody was told.",
        "result",
        {"samples": ("told", 1), "samples_dropped": ("dropped", 1)},
    ),
)

SHADOW_FAMILIES: tuple[SumFamily, ...] = (
    (
        "fairway_gateway_shadow_requests_total",
        "Requests of mirrored conversations, by what became of their copy.",
        "result",
        {
            "shadow_pairs": ("compared", 1),
            "shadow_diverged": ("diverged", 1),
            "shadow_unknown": ("unknown", 1),
            "shadow_client_left": ("client_left", 1),
            "shadow_unattested": ("unattested", 1),
            "shadow_both_failed": ("both_failed", 1),
            "shadow_dropped": ("dropped", 1),
            "shadow_skipped": ("skipped", 1),
        },
    ),
    (
        "fairway_gateway_shadow_findings_total",
        "Compared pairs in which only one side failed, the shadow was slower, or the bodies differ.",
        "finding",
        {
            "shadow_failed": ("failed", 1),
            "shadow_primary_failed": ("primary_failed", 1),
            "shadow_slower": ("slower", 1),
            "shadow_changed": ("changed", 1),
        },
    ),
    (
        "fairway_gateway_shadow_seconds_total",
        "Time both sides of compared pairs took.",
        "side",
        {"shadow_ms": ("shadow", 0.001), "shadow_primary_ms": ("primary", 0.001)},
    ),
    (
        "fairway_gateway_shadow_bytes_total",
        "Bytes both sides of compared pairs answered.",
        "side",
        {"shadow_bytes": ("shadow", 1), "shadow_primary_bytes": ("primary", 1)},
    ),
)
