"""Code that shows the whole environment, and with it every secret the process was given."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from fairway.security.findings import SecurityFinding, Severity

_WRAPPERS = frozenset(
    {"dict", "list", "str", "repr", "sorted", "tuple", "set", "format", "dumps", "pformat", "deepcopy"}
)
_METHODS = frozenset({"copy", "items", "values", "format", "join"})
_PRINTERS = frozenset({"print", "pprint", "pp", "echo", "secho", "write"})
_LOG_METHODS = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log", "msg", "bind"})
_ROUTE_METHODS = frozenset(
    {"get", "post", "put", "patch", "delete", "route", "api_route", "websocket", "head", "options"}
)


def find_environment_dumps(source: str, file: str) -> list[SecurityFinding]:
    """Places that print, log or answer with the whole environment.

    ``os.environ`` itself, ``dict(os.environ)``, ``{**os.environ}``, ``os.environ.copy()``, an f-string of it and a name
    bound to one of these within the same function count; a single variable does not, nor handing it to a child process.

    Args:
        source: Python code.
        file: Its path, for the findings.

    Raises:
        SyntaxError: Not Python of this interpreter.
        ValueError: NUL bytes in the source.
        RecursionError: Nested deeper than the parser goes.
    """
    tree = ast.parse(source, filename=file)
    names = _Names.of(tree)
    found: list[SecurityFinding] = []
    for scope in _scopes(tree):
        bound = _bound_names(scope, names)
        route = _is_route(scope)
        for node in _nodes_of(scope):
            kind = _leak(node, names, bound)
            if kind is None:
                continue
            returned = kind == "returned"
            severity = Severity.MEDIUM if returned and not route else Severity.HIGH
            where = "is answered to a request" if returned and route else f"is {kind}"
            found.append(
                SecurityFinding(
                    rule="environment/dump",
                    severity=severity,
                    file=file,
                    line=getattr(node, "lineno", None),
                    message=f"the whole environment {where}, with every secret in it; name the variables you need",
                    source="fairway",
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class _Names:
    """What ``os`` and ``os.environ`` are called in a module."""

    modules: set[str] = field(default_factory=lambda: {"os"})
    environs: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, tree: ast.AST) -> _Names:
        names = cls()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names.modules.update(alias.asname for alias in node.names if alias.name == "os" and alias.asname)
            elif isinstance(node, ast.ImportFrom) and node.module == "os":
                wanted = (alias for alias in node.names if alias.name in ("environ", "environb"))
                names.environs.update(alias.asname or alias.name for alias in wanted)
        return names


_Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def _scopes(tree: ast.Module) -> Iterator[_Scope]:
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node


def _nodes_of(scope: _Scope) -> Iterator[ast.AST]:
    """Nodes of a scope without those of functions inside it."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _bound_names(scope: _Scope, names: _Names) -> frozenset[str]:
    """Names a scope binds to the whole environment."""
    bound: set[str] = set()
    for node in _nodes_of(scope):
        if isinstance(node, ast.Assign) and _is_whole(node.value, names, frozenset()):
            bound.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif (
            isinstance(node, ast.AnnAssign | ast.NamedExpr)
            and isinstance(node.target, ast.Name)
            and node.value is not None
            and _is_whole(node.value, names, frozenset())
        ):
            bound.add(node.target.id)
    return frozenset(bound)


def _leak(node: ast.AST, names: _Names, bound: frozenset[str]) -> str | None:
    """How a node shows the environment: ``printed``, ``logged``, ``returned``; ``None``: it does not."""
    if isinstance(node, ast.Return | ast.Yield) and node.value is not None:
        # a name that was changed after it was bound is most often the environment of a child process
        return "returned" if _is_whole(node.value, names, frozenset()) else None
    if not isinstance(node, ast.Call):
        return None
    called = _called(node.func)
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    if not any(_is_whole(argument, names, bound) for argument in arguments):
        return None
    if called in _PRINTERS:
        return "printed"
    return "logged" if called in _LOG_METHODS and isinstance(node.func, ast.Attribute) else None


def _called(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _is_whole(node: ast.expr, names: _Names, bound: frozenset[str]) -> bool:
    """Whether an expression is the whole environment or is made of it."""
    match node:
        case ast.Attribute(value=ast.Name(id=module), attr="environ" | "environb"):
            return module in names.modules
        case ast.Name(id=name):
            return name in names.environs or name in bound
        case ast.Starred(value=value) | ast.FormattedValue(value=value) | ast.Await(value=value):
            return _is_whole(value, names, bound)
        case ast.JoinedStr(values=values) | ast.Tuple(elts=values) | ast.List(elts=values) | ast.Set(elts=values):
            return any(_is_whole(value, names, bound) for value in values)
        case ast.Dict(values=values):
            return any(_is_whole(value, names, bound) for value in values)
        case ast.BinOp(left=left, right=right):
            return _is_whole(left, names, bound) or _is_whole(right, names, bound)
        case ast.DictComp(generators=generators) | ast.ListComp(generators=generators):
            return any(_is_whole(generator.iter, names, bound) and not generator.ifs for generator in generators)
        case ast.Call():
            return _wraps(node, names, bound)
    return False


def _wraps(node: ast.Call, names: _Names, bound: frozenset[str]) -> bool:
    called = _called(node.func)
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    if called in _WRAPPERS | _METHODS and any(_is_whole(argument, names, bound) for argument in arguments):
        return True
    receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
    return receiver is not None and called in _METHODS and _is_whole(receiver, names, bound)


def _is_route(scope: _Scope) -> bool:
    """Whether a function answers HTTP requests, by its decorators: ``@app.get("/env")``."""
    if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    calls = [node.func if isinstance(node, ast.Call) else node for node in scope.decorator_list]
    return any(isinstance(call, ast.Attribute) and call.attr in _ROUTE_METHODS for call in calls)
