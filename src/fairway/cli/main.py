"""The ``fairway`` command: each subcommand is one file, imported only when it is used."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from fairway import __version__
from fairway.cli.lazy_group import LazyGroup
from fairway.errors import FairwayError, UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "audit": ("fairway.cli.audit", "The tamper-evident record of who did what: log, verify, replay."),
    "checklist": ("fairway.cli.checklist", "Before, during and after a rollout: answered by evidence."),
    "cost": ("fairway.cli.cost", "What model calls cost, by release, tenant, feature; against the budgets."),
    "demo": ("fairway.cli.demo", "See the main job run: promote a good release, catch a bad one."),
    "deploy": ("fairway.cli.deploy", "Deploy a release to an environment by its rollout policy."),
    "doctor": ("fairway.cli.doctor", "What is installed, reachable or misconfigured."),
    "env": ("fairway.cli.env", "Environments: list them, and what differs between two."),
    "eval": ("fairway.cli.eval.group", "Evaluations: run, compare, show, bless, merge, import …"),
    "flag": ("fairway.cli.flag", "Feature flags: list, show, set, unset at run time."),
    "gateway": ("fairway.cli.gateway.group", "The data plane: serve, status, pin."),
    "init": ("fairway.cli.init", "Make an agent project, or add Fairway to a service you have."),
    "mock-llm": ("fairway.cli.mock_llm", "A deterministic OpenAI-compatible model from a scenario file."),
    "people": ("fairway.cli.people", "People: who has which role, and what it allows where."),
    "prompt": ("fairway.cli.prompt", "Prompts: list, lint, show, diff, lock, render."),
    "release": ("fairway.cli.release", "Releases: create, list, show, diff, verify."),
    "rollback": ("fairway.cli.rollback", "Go back, by default to the last stable release."),
    "rollout": ("fairway.cli.rollout", "Rollouts: plan, start, status, watch; promote, skip, approve, abort …"),
    "run": ("fairway.cli.run", "Run the pipeline: check, evaluate, scan, package, deploy."),
    "schema": ("fairway.cli.schema", "JSON Schemas of the project files and of every value on the wire."),
    "simulate": ("fairway.cli.simulate", "What a policy would do: modelled rollouts, false alarms, delays."),
    "sla": ("fairway.cli.sla", "How each release keeps its promise: report by release or month."),
    "up": ("fairway.cli.up", "Serve: gateway, controller and arms, supervised. Ctrl-C drains."),
}
"""Each module has one click command named ``command``; the text is shown without importing it."""

VERDICTS = frozenset(("eval", name) for name in ("run", "compare", "merge", "score", "experiment"))
"""Commands whose exit code is a verdict: 2 is INCONCLUSIVE there and nothing else, so that every error is 3."""


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Start with: fairway demo. Shell completion: eval "$(_FAIRWAY_COMPLETE=bash_source fairway)".',
)
@click.version_option(__version__, prog_name="fairway", message="%(prog)s %(version)s")
def cli() -> None:
    """Release engineering for AI agents: from a commit to production traffic, judged and recorded."""


def report_error(error: FairwayError, *, as_json: bool) -> None:
    """One error, for a person on stderr or for a program on stdout."""
    if as_json:
        body: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
        for name in ("file", "line", "column", "key"):
            if hasattr(error, name):
                body[name] = getattr(error, name)
        click.echo(json.dumps({"error": body}, indent=2))
        return
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def wants_json(arguments: list[str]) -> bool:
    """Whether ``-o json`` is among the arguments, however it is written."""
    joined = " ".join(arguments)
    return any(form in f"{joined} " for form in ("-o json ", "--output json ", "--output=json ", "-ojson "))


def main() -> None:
    """Run the command line; the border where every error becomes a message and an exit code."""
    arguments = sys.argv[1:]
    try:
        code = cli.main(args=arguments, prog_name="fairway", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except FairwayError as error:
        report_error(error, as_json=wants_json(arguments))
        sys.exit(3 if _gives_verdict(arguments) else error.exit_code)
    except click.ClickException as error:
        if wants_json(arguments):
            report_error(_from_click(error), as_json=True)
        else:
            error.show()
        sys.exit(3 if _gives_verdict(arguments) else 2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        report_error(_from_os_error(error), as_json=wants_json(arguments))
        sys.exit(3)
    except Exception:
        if not _gives_verdict(arguments):
            raise
        # Python would exit with 1, which is a verdict
        sys.excepthook(*sys.exc_info())
        sys.exit(3)


def _gives_verdict(arguments: list[str]) -> bool:
    return tuple(arguments[:2]) in VERDICTS


def _from_click(error: click.ClickException) -> UserError:
    """A command line that cannot be read, as a program learns of it."""
    context = getattr(error, "ctx", None)
    return UserError(
        error.format_message(), code="usage", hint=f"see {context.command_path if context else 'fairway'} --help"
    )


def _from_os_error(error: OSError) -> FairwayError:
    """Say what the operating system refused, without a traceback."""
    import errno

    from fairway.errors import PermanentError

    hints = {
        errno.ENOSPC: ("disk_full", "free some space and run the same command again; nothing was half-written"),
        errno.EACCES: ("permission", "check who owns the file or folder"),
        errno.EADDRINUSE: ("port_taken", "another process listens there; choose another port"),
        errno.EROFS: ("read_only", "the file system is read-only"),
    }
    code, hint = hints.get(error.errno or 0, ("operating_system", None))
    where = f" ({error.filename})" if error.filename else ""
    return PermanentError(f"{error.strerror or error}{where}", code=code, hint=hint)
