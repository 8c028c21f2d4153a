"""``fairway audit replay``: what was found and decided, worked out again from what is recorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option, say
from fairway.cli.replay_text import replay_text
from fairway.cli.steering import LAST_SEQ

if TYPE_CHECKING:
    from fairway.controller.rereading import Reread
    from fairway.ledger import SqlLedger
    from fairway.ledger.replaying import Replayed
    from fairway.units import RouteId

_SAY_EVERY_SECONDS = 5.0


def ledger_path(project_dir: str | None) -> Path:
    """The file of the project's ledger."""
    from fairway.project.load import find_root
    from fairway.state_dir import StateDir

    return StateDir(find_root(Path(project_dir) if project_dir else None) / ".fairway").ledger


@contextmanager
def opened(project_dir: str | None) -> Iterator[SqlLedger]:
    """The project's ledger, as it is."""
    from fairway.ledger import open_ledger

    with open_ledger(ledger_path(project_dir), migrate=False) as ledger:
        yield ledger


@click.command(
    "replay",
    epilog="Example: fairway audit replay --from 120 --to 140 (a copy, anywhere: fairway audit replay --ledger c.db)",
)
@click.option("--environment", help="Only the routes of this environment.")
@click.option(
    "--from", "first", type=click.IntRange(1, LAST_SEQ), default=1, show_default=True, help="First event, by seq."
)
@click.option(
    "--to", "last", type=click.IntRange(1, LAST_SEQ), default=None, help="Last event, by seq; by default all."
)
@click.option(
    "--ledger",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A copy of a ledger, instead of the project's; it is only read, and no project is needed.",
)
@click.option("--gates/--no-gates", default=True, show_default=True, help="Read the recorded telemetry blocks as well.")
@click.option("--strict", is_flag=True, help="Exit 1 as well when something could not be worked out again.")
@output_option
@project_option
def replay(
    environment: str | None,
    first: int,
    last: int | None,
    file: Path | None,
    gates: bool,
    strict: bool,
    output: str,
    project_dir: str | None,
) -> int:
    """Work out every recorded finding and decision again, and name the first difference.

    The gates read the recorded telemetry blocks again, and their findings are compared with those each event looked at;
    then the decision is taken again from what the event looked at, and each event must begin where the one before it
    ended. Figures count as equal up to a relative 1e-9; what comes out differently beside a figure that near its
    threshold is reported as boundary, and what another version of the engine found or decided as that version's, not
    as wrong. What cannot be worked out again is named and counted. Exits 1 when something is wrong.
    """
    from fairway.ledger.replaying import replay_route

    with a_copy(file) if file is not None else opened(project_dir) as ledger:
        routes = _to_replay(ledger, environment, first, last)
        results = [one for route in routes for one in replay_route(ledger, route, first=first, last=last)]
        reread = _reread(ledger, routes, first, last) if gates else None
    body = {**_decisions(results), "gates": None if reread is None else _gates(reread)}
    emit(body, output=output, text=lambda: replay_text(body))
    return 1 if _is_wrong(body, strict=strict) else 0


def _is_wrong(body: dict[str, Any], *, strict: bool) -> bool:
    gates = body["gates"] or {"different": [], "not_reread": {}, "as_recorded": {}}
    if body["different"] or gates["different"]:
        return True
    unknown = body["replayed"] < body["events"] or body["other_engine"] or gates["not_reread"] or gates["as_recorded"]
    return strict and bool(unknown)


def _reread(ledger: SqlLedger, routes: list[RouteId], first: int, last: int | None) -> list[Reread]:
    from fairway.controller.rereading import reread_route

    return [
        one
        for route in routes
        for one in reread_route(ledger, route, first=first, last=last, progress=_telling(ledger, route, last))
    ]


def _telling(ledger: SqlLedger, route: RouteId, last: int | None) -> Callable[[int], None]:
    """Says every few seconds how far it is."""
    head = ledger.head(route).fence.seq
    end = head if last is None else min(last, head)
    said = time.monotonic()

    def tell(seq: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _SAY_EVERY_SECONDS:
            said = time.monotonic()
            say(f"{route}: event {seq} of {end}")

    return tell


def _to_replay(ledger: SqlLedger, environment: str | None, first: int, last: int | None) -> list[RouteId]:
    """The routes with events in the range; what was asked for and selects nothing is an error, never a pass."""
    from fairway.errors import NotFoundError, UserError

    heads = {route: ledger.head(route).fence.seq for route in ledger.routes()}
    known = {str(route.environment) for route, head in heads.items() if head}
    if environment is not None and environment not in known:
        there = f"those with events are {', '.join(sorted(known))}" if known else "it has no events yet"
        raise NotFoundError(
            f"the ledger has no events of environment {environment}", code="environment_not_found", hint=there
        )
    chosen = {route: head for route, head in heads.items() if head and environment in (None, route.environment)}
    end = max(chosen.values(), default=0)
    asked = first > 1 or last is not None
    if asked and (first > end or (last is not None and last < first)):
        upto = "" if last is None else f" --to {last}"
        raise UserError(
            f"--from {first}{upto} selects no event",
            code="bad_option",
            hint=f"the last event is {end}" if end else None,
        )
    return list(chosen)


@contextmanager
def a_copy(file: Path, *, keys: Path | None = None) -> Iterator[SqlLedger]:
    """A ledger file that stays as it is: a copy of it is opened, and brought up to date when it is older.

    Args:
        file: The ledger.
        keys: Folder of the keys that are trusted; by default none.
    """
    import tempfile

    from fairway.ledger import open_ledger
    from fairway.ledger.database import copy_database

    with tempfile.TemporaryDirectory(prefix="fairway-replay-") as folder:
        copied = Path(folder) / "ledger.db"
        copy_database(file, copied)
        with open_ledger(copied, keys=keys) as ledger:
            yield ledger


def _decisions(results: list[Replayed]) -> dict[str, Any]:
    wrong = [_replayed(one) for one in results if one.wrong]
    others = [_replayed(one) for one in results if one.by_other_engine]
    return {
        "events": len(results),
        "replayed": sum(one.replayed for one in results),
        "first": wrong[0] if wrong else None,
        "different": wrong,
        "boundary": [_replayed(one) for one in results if one.edge],
        "other_engine_count": len(others),
        "other_engine": others,
    }


def _replayed(one: Replayed) -> dict[str, Any]:
    found = one.difference
    return {
        "route": str(one.route),
        "seq": one.seq,
        "code": one.code,
        "replayed": one.replayed,
        "engine": one.engine or None,
        "difference": found and {"path": found.path, "recorded": found.recorded, "replayed": found.replayed},
        "edge": [{"figure": e.figure, "value": e.value, "threshold": e.threshold} for e in one.edge],
    }


def _gates(results: list[Reread]) -> dict[str, Any]:
    """What the gates find in the recorded blocks, beside what is recorded."""
    differing = [one for one in results if one.difference is not None]
    wrong = [_found(one) for one in differing if one.wrong]
    unknown = [one for one in results if one.not_reread is not None]
    return {
        "findings": sum(one.gates for one in results),
        "blocks": sum(one.blocks for one in results),
        "first": wrong[0] if wrong else None,
        "different": wrong,
        "boundary": [_found(one) for one in differing if not one.wrong],
        "not_reread": dict(Counter(str(one.not_reread) for one in unknown)),
        "not_reread_events": [
            {
                "route": str(one.route),
                "seq": one.seq,
                "code": one.code,
                "why": str(one.not_reread),
                "detail": one.detail,
            }
            for one in unknown
        ],
        "as_recorded": dict(Counter(gate for one in results for gate in one.outside)),
    }


def _found(one: Reread) -> dict[str, Any]:
    found = one.difference
    assert found is not None
    return {
        "route": str(one.route),
        "seq": one.seq,
        "code": one.code,
        "what": found.what,
        "path": found.path,
        "recorded": found.recorded,
        "recomputed": found.recomputed,
    }
