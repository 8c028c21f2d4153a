"""A Python function as a system under test."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import ModuleType, TracebackType
from typing import Any, Self

from fairway.errors import FairwayError, PermanentError, TransientError, UserError
from fairway.evals.plain_text import plain
from fairway.evals.subjects.said import said, told
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Reply

_SHOWN = 200


class CallableSubject:
    """Calls a function, ``async`` or not; the latter in a thread.

    A function that takes one argument gets the message; one that takes two gets the message and everything a command
    would be told. It answers text, or what a command may answer. A thread cannot be stopped: a function that is past
    its limit goes on in the background until the process ends, and its answer is thrown away.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        timeout_seconds: float = 60.0,
        threads: int = 64,
        version: str | None = None,
    ) -> None:
        """Prepare.

        Args:
            function: Who answers.
            name: As a report shows it; ``None``: its own.
            timeout_seconds: Of one question.
            threads: Calls of a function that is not ``async`` at a time.
            version: What the person says it is: answers of one version may come from the cache. ``None``: nobody knows.
        """
        self._function = function
        self._timeout = timeout_seconds
        self._arguments = _arguments(function)
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async is asked for
        )
        self._free = asyncio.Semaphore(threads)
        shown = name or f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', '?')}"
        identity = None if version is None else {"function": shown, "version": version}
        self._info = SubjectInfo(kind="python", name=shown, identity=identity)

    @property
    def info(self) -> SubjectInfo:
        """Who it is."""
        return self._info

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is waited for: a function that never returns must not keep the process from ending."""

    async def ask(self, question: Question) -> Reply:
        """What it returns.

        Raises:
            TransientError: Not in time.
            PermanentError: It raises, or returns neither text nor an object with a text.
        """
        arguments = (question.message, told(question))[: self._arguments]
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout) as scope:
                value = await self._called(arguments)
        except TimeoutError as error:
            if scope.expired():
                message = f"the function did not return within {self._timeout:g} s"
                raise TransientError(message, code="agent_timeout") from error
            raise _raised(error) from error
        except FairwayError:
            raise
        except (Exception, SystemExit) as error:
            raise _raised(error) from error
        return said(value, latency_seconds=time.monotonic() - started)

    async def _called(self, arguments: tuple[Any, ...]) -> Any:
        if self._is_async:
            return await self._function(*arguments)
        await self._free.acquire()
        value = await asyncio.wrap_future(self._begun(arguments, asyncio.get_running_loop()))
        return await value if inspect.isawaitable(value) else value

    def _begun(self, arguments: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> Future[Any]:
        """The call in a thread of its own that ends with the process; a pool's threads would be waited for."""
        call: Future[Any] = Future()
        call.set_running_or_notify_cancel()

        def run() -> None:
            try:
                call.set_result(self._function(*arguments))
            except BaseException as error:  # noqa: BLE001 - it is raised again where the answer is awaited
                call.set_exception(error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits for a free place any more
                loop.call_soon_threadsafe(self._free.release)

        Thread(target=run, name="subject", daemon=True).start()
        return call


def _raised(error: BaseException) -> PermanentError:
    first = (str(error).strip().splitlines() or [""])[0]
    told_as = f"{type(error).__name__}: {plain(first)}".removesuffix(": ")[:_SHOWN]
    return PermanentError(f"the function raised {told_as}", code="agent_function")


def _arguments(function: Callable[..., Any]) -> int:
    """How many it takes: one or two."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return 2
    return min(2, max(1, sum(one.kind in positional for one in parameters)))


def load_function(text: str, *, root: Path) -> Callable[..., Any]:
    """The function of ``package.module:name`` or ``path/to/file.py:name``.

    Args:
        text: Which.
        root: Where modules and files are looked for first.

    Raises:
        UserError: There is none, or what is there cannot be imported or called.
    """
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise _wrong(text, "it is written package.module:function or file.py:function")
    module = _module(text, place, root)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise _wrong(text, f"there is no function {name} in {place}")
    function: Callable[..., Any] = found
    return function


def _module(text: str, place: str, root: Path) -> ModuleType:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return _file_module(text, place, root) if place.endswith(".py") else importlib.import_module(place)
    except FairwayError:
        raise
    except (Exception, SystemExit) as error:
        raise _wrong(text, f"importing it raised {type(error).__name__}: {plain(str(error))[:_SHOWN]}") from error


def _file_module(text: str, place: str, root: Path) -> ModuleType:
    path = root / place
    spec = importlib.util.spec_from_file_location(f"_subject_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise _wrong(text, f"there is no file {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _wrong(text: str, why: str) -> UserError:
    return UserError(f"python:{text}: {why}", code="eval_target")
