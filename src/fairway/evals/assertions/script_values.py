"""What a suite writes for the assertions that a script, a webhook or an embedding model decides."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fairway.evals.assertions.kind import BadValueError
from fairway.evals.values import Assertion
from fairway.mistakes import shown

_FILE = re.compile(r"(?:file://)?(?P<path>[^\n:()]+\.py)(?::(?P<function>[A-Za-z_]\w*))?")


def python_value(value: Any) -> dict[str, str]:
    """Reader of Python: ``file.py:function`` (``get_assert`` by default), an expression, or lines with ``return``.

    Raises:
        BadValueError: It is neither a path inside the project nor Python.
    """
    if isinstance(value, dict) and set(value) in ({"file", "function"}, {"code"}):
        return dict(value)  # read before
    if not isinstance(value, str) or not value.strip():
        raise BadValueError(f"expected file.py:function or Python code; got {shown(value)}")
    found = _FILE.fullmatch(value.strip())
    if found is not None:
        path = PurePosixPath(found["path"])
        if path.is_absolute() or ".." in path.parts or "\\" in found["path"] or "\0" in found["path"]:
            raise BadValueError(f"{found['path']!r} must be a path inside the project, without ..")
        return {"file": str(path), "function": found["function"] or "get_assert"}
    return {"code": function_of(value)}


def function_of(code: str) -> str:
    """Source of ``check(output, context)``, whose body is an expression or lines with ``return``."""
    text = code.strip("\n")
    if "\n" not in text.strip():
        source = f"def check(output, context):\n    return (\n        {text.strip()}\n    )\n"
    else:
        # tuple-indent every line the same, whatever the block scalar's own indentation was
        lines = text.splitlines()
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        body = "\n".join("    " + line[margin:] if line.strip() else "" for line in lines)
        source = f"def check(output, context):\n{body}\n"
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        told = error.msg if isinstance(error, SyntaxError) else str(error)
        raise BadValueError(f"is not Python: {told}") from error
    if len(tree.body) != 1 or not any(isinstance(node, ast.Return) for node in ast.walk(tree)):
        raise BadValueError("returns nothing", hint="lines of Python need a 'return'")
    return source


def script_files(assertions: Iterable[Assertion]) -> tuple[str, ...]:
    """Files of Python that assertions name, relative to the project, sorted, each once."""
    found: set[str] = set()
    for one in assertions:
        if one.type == "python" and isinstance(one.value, Mapping) and "file" in one.value:
            found.add(one.value["file"])
        found |= set(script_files(one.members))
    return tuple(sorted(found))


def web_address(value: Any) -> str:
    """Reader of an ``http`` or ``https`` address without credentials in it."""
    if not isinstance(value, str) or any(char.isspace() for char in value):
        raise BadValueError(f"expected an address such as https://example.com/check; got {shown(value)}")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        raise BadValueError(f"{value!r} is not an http or https address")
    if parts.username is not None or parts.password is not None:
        raise BadValueError("holds credentials", hint="a secret never stands in a suite")
    return value
