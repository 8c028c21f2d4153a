"""``fairway eval history``: what was evaluated, by release, and the runs kept here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.history.folders import RunHeader
    from fairway.release.values import Evidence

EPILOG = """\b
Examples:
  fairway eval history
  fairway eval history --limit 5 -o json
"""
_STAGE = "prompt_regression"


@click.command("history", epilog=EPILOG)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Of releases, and of runs.")
@project_option
@output_option
def command(limit: int, project_dir: str | None, output: str) -> None:
    """What was evaluated: each release with what its evaluations found, and the runs kept here, newest first.

    Releases come from the ledger, which forgets nothing; runs from .fairway/evals, where old ones are removed.
    """
    from fairway.cli.eval.place import eval_place

    place = eval_place(project_dir)
    releases = _releases(place, limit) if place.in_project else []
    runs = [_run(header) for header in place.history.headers()[:limit]]
    told = {"releases": releases, "runs": runs}
    emit(told, output=output, text=lambda: _text(releases, runs))


def _releases(place: EvalPlace, limit: int) -> list[dict[str, Any]]:
    """Every release with the findings of its evaluations, newest first."""
    from fairway.ledger import open_ledger

    if not place.state.ledger.exists():
        return []
    ledger = open_ledger(place.state.ledger)
    try:
        found = []
        for signed in ledger.list_releases(place.project.name)[:limit]:
            manifest = signed.manifest
            evidence = [one for one in ledger.list_evidence(manifest.release_digest) if one.kind == _STAGE]
            found.append(
                {
                    "version": manifest.release_version,
                    "release": manifest.release_digest,
                    "evaluations": [_finding(one) for one in evidence],
                }
            )
        return found
    finally:
        ledger.close()


def _finding(evidence: Evidence) -> dict[str, Any]:
    return {
        "at": evidence.at.isoformat(),
        "verdict": evidence.verdict.value,
        "environment": evidence.environment,
        "instrument": evidence.instrument,
        **{
            name: evidence.figures.get(name) for name in ("total", "passed", "failed", "pass_rate", "attempt", "run_id")
        },
    }


def _run(header: RunHeader) -> dict[str, Any]:
    return {
        "run_id": header.run_id,
        "created_at": header.created_at.isoformat(),
        "subject": header.subject,
        "verdict": header.verdict if header.ended else None,
        "ended": header.ended,
        "complete": header.complete,
        "attempt": header.attempt,
        "total": header.total,
        "passed": header.passed,
        "baseline": header.baseline,
        "shard": None if header.shard is None else f"{header.shard[0]}/{header.shard[1]}",
        "spent_usd": None if header.spent_micros is None else header.spent_micros / 1_000_000,
    }


def _text(releases: list[dict[str, Any]], runs: list[dict[str, Any]]) -> str:
    lines = []
    if releases:
        lines.append("releases")
        lines += [line for release in releases for line in _release_lines(release)]
        lines.append("")
    lines.append("runs kept here" if runs else "no run is kept here: fairway eval run")
    lines += [_run_line(run) for run in runs]
    return "\n".join(lines)


def _release_lines(release: dict[str, Any]) -> list[str]:
    if not release["evaluations"]:
        return [f"  {release['version']:<12} not evaluated"]
    return [f"  {release['version']:<12} {_told(one)}" for one in release["evaluations"]]


def _told(one: dict[str, Any]) -> str:
    counted = "" if one["total"] is None else f"{one['passed']} of {one['total']} cases passed"
    attempt = f", attempt {one['attempt']}" if (one["attempt"] or 1) > 1 else ""
    return f"{one['at'][:19]}  {one['verdict']:<13} {counted}{attempt}  in {one['environment']}"


def _run_line(run: dict[str, Any]) -> str:
    if not run["ended"]:
        return f"  {run['run_id']}  not ended      {run['subject']}: fairway eval run --resume {run['run_id']}"
    against = f" against {run['baseline']}" if run["baseline"] else ""
    attempt = f", attempt {run['attempt']}" if run["attempt"] > 1 else ""
    shard = f", shard {run['shard']}" if run["shard"] else ""
    cases = f"{run['passed']} of {run['total']} cases passed"
    return f"  {run['run_id']}  {run['verdict']:<13} {cases}{attempt}{shard}  {run['subject']}{against}"
