"""The process a ``python`` assertion runs in: reads one request on standard input, answers one line, ends.

Started as a file of its own with ``python -I``; knows nothing of Fairway, so that it starts fast and on any Python.
What the script prints goes to standard error: only this file writes the answer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to load, and this starts for every check
    from typing import Any


def load(request: dict[str, Any]) -> Any:
    """The function that was asked for."""
    if request.get("code") is not None:
        namespace: dict[str, Any] = {"json": json}
        exec(compile(request["code"], "<assertion>", "exec"), namespace)  # noqa: S102 - the suite's own code, on purpose
        return namespace["check"]
    path = request["file"]
    sys.path[:0] = [os.path.dirname(path), request["root"]]
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, request["function"])


def call(request: dict[str, Any]) -> Any:
    """What the function says; a coroutine is awaited, a scalar of a numeric library becomes Python's own."""
    result = load(request)(request["output"], request["context"])
    if hasattr(result, "__await__"):
        import asyncio

        async def wait() -> Any:
            return await result

        result = asyncio.run(wait())
    if type(result).__module__ != "builtins" and callable(getattr(result, "item", None)):
        result = result.item()
    return result


def main() -> int:
    """Answer one request; 0 also when the script failed, which the answer then says."""
    answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.read())
    try:
        text = json.dumps({"result": call(request)}, allow_nan=False)
    except BaseException as error:  # noqa: BLE001 - whatever the script raises is its answer, SystemExit too
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        line = f" (line {trace.tb_lineno})" if trace is not None else ""
        text = json.dumps({"error": f"{type(error).__name__}: {error}"[:2000] + line})
    answer_to.write(text + "\n")
    answer_to.close()
    # threads and exit handlers of the script have nothing more to say
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
