"""``fairway eval``: evaluations a release can be gated on."""

from __future__ import annotations

import click

from fairway.cli.lazy_group import LazyGroup

EPILOG = """\b
Examples:
  fairway eval run                                        the project's agent, its suites, the mock model
  fairway eval run cases.yaml --target http://127.0.0.1:8000/chat
  fairway eval run --baseline stable                      beside the release that is stable now
  fairway eval show --html report.html

\b
Exit codes of run, compare, merge and score: 0 PASS, 1 REGRESSION or FAIL, 2 INCONCLUSIVE, 3 an error.
"""

COMMANDS: dict[str, tuple[str, str]] = {
    "bless": ("fairway.cli.eval.bless", "Make a run the baseline that later ones are compared with."),
    "calibrate": ("fairway.cli.eval.calibrate", "How well the judge agrees with people, and whether it may be used."),
    "capture": ("fairway.cli.eval.capture", "Make cases of live conversations, redacted."),
    "compare": ("fairway.cli.eval.compare", "Decide about one run against another, without a call."),
    "experiment": ("fairway.cli.eval.experiment", "Variants of a project against each other, with Holm."),
    "export": ("fairway.cli.eval.export", "Write a suite as YAML, JSON, JSONL, CSV or for promptfoo."),
    "history": ("fairway.cli.eval.history", "What was evaluated: by release, and the runs kept here."),
    "import": ("fairway.cli.eval.importing", "Write the tests of a promptfoo configuration as suites."),
    "lint": ("fairway.cli.eval.lint", "Check suites: contradictions, what always holds, too few cases."),
    "merge": ("fairway.cli.eval.merge", "Put shards together: the verdict of the unsharded run."),
    "run": ("fairway.cli.eval.run", "Play suites against an agent and let the gate decide."),
    "score": ("fairway.cli.eval.score", "Score a run again, by today's assertions, without a call."),
    "show": ("fairway.cli.eval.show", "Show a run: in the terminal, or as a report in a file."),
}


@click.group(name="eval", cls=LazyGroup, commands_by_name=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Evaluate an agent by suites of cases, and decide whether a release may go on.

    Works in a project and outside one: a suite file and a target are enough.
    """
