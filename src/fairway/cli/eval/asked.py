"""What a person asked of an evaluation, kept with the run so that it can be resumed as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from fairway.errors import NotFoundError, UserError
from fairway.evals.history.folders import read_header
from fairway.evals.wire import WireError, decode, encode

if TYPE_CHECKING:
    from fairway.cli.eval.place import EvalPlace

PIPELINE = "pipeline"
"""In what was asked of a run: it belongs to a run of the pipeline, which resumes it itself."""


_OPTIONS = {"suites": "--suite", "cases": "--case", "tags": "--tag", "text": "--filter"}


def _option(name: str) -> str:
    """As it is written on the command line, where that is not in :data:`_OPTIONS`."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of ``fairway eval run``; ``None``: as the project says.

    Attributes:
        paths: Files or globs of suites; empty: the project's.
        target: Whom to ask; ``None``: the project's agent.
        target_version: What the person says is behind it, so that answers may be kept and attempts add up.
        baseline: A run, ``latest``, ``blessed``, ``stable`` or a target; ``None``: nothing.
        judge: Models that grade, outside a project; empty: the project's judges.
        cases, tags, suites, text, sample, shard, layer: What is played of the suites.
    """

    paths: tuple[str, ...] = ()
    target: str | None = None
    target_version: str | None = None
    judge: tuple[str, ...] = ()
    environment: str | None = None
    baseline: str | None = None
    margin: float | None = None
    suites: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    text: str | None = None
    sample: int | None = None
    shard: str | None = None
    layer: str | None = None
    repeat: int | None = None
    adaptive: bool = False
    concurrency: int | None = None
    timeout: float | None = None
    total_timeout: float | None = None
    spend: float | None = None
    cache: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: ``eval_option``.
        """
        if self.target_version is not None and not self.target_version.strip():
            raise UserError(
                "--target-version is empty, so answers of any version would be taken for this one's",
                code="eval_option",
                hint="is the variable that holds the version set? leave the option out when nobody knows it",
            )
        if self.margin is not None and not 0 < self.margin < 1:
            raise UserError("--margin must be between 0 and 1: 0.05 is five points", code="eval_option")
        for name in ("timeout", "total_timeout", "spend"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{_option(name)} must be above 0", code="eval_option")

    def refuse_beside_resume(self) -> None:
        """A run that is resumed goes on as it was asked for; an option left out in silence would look obeyed.

        Raises:
            UserError: ``eval_resume``: something else was asked for as well.
        """
        given = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        if given:
            names = ", ".join("a suite" if name == "paths" else _OPTIONS.get(name, _option(name)) for name in given)
            raise UserError(
                f"--resume goes on as the run was asked for, and takes no other: {names}",
                code="eval_resume",
                hint="fairway eval run --resume; without --resume a new run begins",
            )

    def to_json(self) -> Mapping[str, Any]:
        """As the run's header keeps it."""
        kept: dict[str, Any] = encode(self)
        return kept


def asked_before(place: EvalPlace, reference: str) -> tuple[str, Asked]:
    """The id of a run that is to be resumed, and what was asked of it.

    Raises:
        NotFoundError: There is no such run, or none that was cut short.
        UserError: ``eval_resume``: it came to its end, or cannot be resumed.
    """
    if reference == "latest":
        open_ones = [one for one in place.history.headers() if not one.ended and PIPELINE not in one.asked]
        if not open_ones:
            raise NotFoundError("no evaluation was cut short", code="eval_run_not_found", hint="fairway eval run")
        reference = open_ones[0].run_id
    header = read_header(place.history.find(reference))
    if header.ended:
        raise UserError(
            f"evaluation {header.run_id} came to its end ({header.verdict})",
            code="eval_resume",
            hint=f"fairway eval show {header.run_id}; fairway eval run begins another attempt",
        )
    try:
        return header.run_id, decode(Asked, dict(header.asked))
    except WireError as error:
        raise UserError(f"evaluation {header.run_id} cannot be resumed: {error.message}", code="eval_resume") from error
