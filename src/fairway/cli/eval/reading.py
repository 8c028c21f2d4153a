"""Runs and baselines by the names people give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairway.errors import NotFoundError, RefusedError
from fairway.evals.history.folders import read_header, read_run, results_digest

if TYPE_CHECKING:
    from pathlib import Path

    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.history.baseline import Baseline
    from fairway.evals.trials import EvalRun
    from fairway.units import Digest

BLESSED = "blessed"


def find_run(
    place: EvalPlace, reference: str | None, *, instrument: Digest | None = None, environment: str | None = None
) -> EvalRun:
    """A run by id, the beginning of one, ``latest``, ``blessed``, or a path.

    Args:
        place: Where it is looked for.
        reference: Its name; ``None``: the latest that came to an end.
        instrument: For ``blessed``: what the other side was measured with; ``None``: the last one blessed.
        environment: For ``blessed``: whose configuration the other side ran with; ``None``: any.

    Raises:
        NotFoundError: There is none.
        PermanentError: It cannot be read.
        RefusedError: ``eval_baseline_changed``: it is not any more what was blessed.
    """
    return read_run(find_folder(place, reference, instrument=instrument, environment=environment))


def find_folder(
    place: EvalPlace, reference: str | None, *, instrument: Digest | None = None, environment: str | None = None
) -> Path:
    """Where :func:`find_run` reads."""
    if reference == BLESSED:
        return _blessed_folder(place, blessed_baseline(place, instrument, environment))
    if reference is None or reference == "latest":
        headers = place.history.headers()
        ended = [header.run_id for header in headers if header.ended]
        if not ended:
            return place.history.find(None)
        if not headers[0].ended:
            click.echo(
                f"{headers[0].run_id} began later and has not ended: this is {ended[0]}, the last one that has",
                err=True,
            )
        return place.history.folder(ended[0])
    return place.history.find(reference)


def blessed_baseline(place: EvalPlace, instrument: Digest | None, environment: str | None) -> Baseline:
    """The baseline on record for an instrument and an environment; ``None``: any.

    Raises:
        NotFoundError: ``eval_no_baseline``: nobody blessed one.
    """
    with place.baselines() as store:
        known = [one for one in store.all() if one.agent == place.agent]
    found = [one for one in known if instrument in (None, one.instrument) and environment in (None, one.environment)]
    if found:
        return found[-1]
    why = "for these cases and repeats, this judge and this environment" if known else "here yet"
    raise NotFoundError(
        f"nobody blessed a baseline {why}",
        code="eval_no_baseline",
        hint="fairway eval run on what is good, then fairway eval bless latest --reason …",
    )


def _blessed_folder(place: EvalPlace, baseline: Baseline) -> Path:
    folder = place.history.folder(baseline.run_id)
    if not folder.is_dir():
        raise NotFoundError(
            f"the blessed run {baseline.run_id} is not here any more",
            code="eval_no_baseline",
            hint="bless another one, or bring its folder back",
        )
    read_header(folder)
    if results_digest(folder) != baseline.results:
        raise RefusedError(
            f"the results of {baseline.run_id} are not those that {baseline.actor} blessed",
            code="eval_baseline_changed",
            hint="bless it again if that is meant: fairway eval bless " + baseline.run_id,
        )
    return folder
