"""What the commands share: the project's state folder, and a question to the gateway that runs there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairway.state_dir import StateDir


def state_of(project_dir: str | None) -> StateDir:
    """State folder of the project given, of the nearest one above, or of this folder."""
    from fairway.state_dir import StateDir

    if project_dir is not None:
        return StateDir(Path(project_dir).resolve() / ".fairway")
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "fairway.yaml").is_file()), here)
    return StateDir(root / ".fairway")


def ask(
    state: StateDir,
    method: str,
    target: str,
    body: dict[str, Any] | None = None,
    *,
    within: float = 5.0,
    actor: str | None = None,
) -> Any:
    """What the running gateway answers on its admin socket.

    Raises:
        PermanentError: It runs, and says no.
        TransientError: It does not run, or does not answer within so many seconds.
    """
    import asyncio
    import json
    from urllib.parse import quote

    from fairway.errors import PermanentError, TransientError
    from fairway.traffic.local_http import LocalClient

    if method == "POST" and actor is not None:
        target = f"{target}?actor={quote(actor)}"

    async def asked() -> Any:
        client = LocalClient(state.socket("gateway"))
        sent = b"" if body is None else json.dumps(body).encode()
        try:
            answer = await client.ask(method, target, body=sent, within=within)
        except TransientError as error:
            if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                raise
            hint = "start one with fairway up or fairway gateway serve, or name its folder with --project"
            why = f"no gateway runs for {state.root.parent}"
            raise TransientError(why, code="unreachable", retry_after=1.0, hint=hint) from error
        finally:
            client.close()
        if answer.status != 200:
            raise PermanentError(f"the gateway answered {answer.status}: {_problem(answer.body)}", code="gateway")
        return answer.json()

    return asyncio.run(asked())


def whoever(state: StateDir, actor: str | None) -> str:
    """Who decides something: as they say, else git's ``user.email`` or the operating system's user."""
    from fairway.cli.verbs import actor_of

    return actor or actor_of(state.root.parent)


def _problem(body: bytes) -> str:
    """What an error answer says; the whole answer where that is none of ours."""
    import json

    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
