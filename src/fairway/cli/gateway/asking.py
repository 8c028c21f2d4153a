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


def ask(state: StateDir, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
    """What the running gateway answers on its admin socket.

    Raises:
        PermanentError: It runs, and says no; or it does not run.
    """
    import asyncio
    import json

    from fairway.errors import PermanentError
    from fairway.traffic.local_http import LocalClient

    async def asked() -> Any:
        client = LocalClient(state.socket("gateway"))
        try:
            answer = await client.ask(method, target, body=b"" if body is None else json.dumps(body).encode())
        finally:
            client.close()
        if answer.status != 200:
            raise PermanentError(f"the gateway answered {answer.status}: {answer.body.decode()}", code="gateway")
        return answer.json()

    return asyncio.run(asked())
