"""Frozen values of this package to JSON and back, by their fields: a field that is added is written and read.

A field that has its default is left out, so that files stay small and old ones stay readable. A file with a field this
version does not know is refused rather than read in part.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

from fairway.errors import UserError

_T = TypeVar("_T")
_Encoder = Callable[[Any], Any]
_Decoder = Callable[[Any], Any]
_PLAIN = (str, int, float, bool, type(None))


class WireError(UserError):
    """A file's value is not what this version of Fairway writes."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="eval_run_file", hint="was it written by another version, or by hand?")


def encode(value: Any) -> Any:
    """The JSON value of a frozen value, a container of them, or plain JSON."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if dataclasses.is_dataclass(kind):
        return _encoder(kind)(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_key(key): encode(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [encode(one) for one in value]
    return value


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


@cache
def _encoder(kind: type) -> _Encoder:
    fields = [(field.name, _default(field)) for field in dataclasses.fields(kind)]

    def run(value: Any) -> dict[str, Any]:
        found = {}
        for name, default in fields:
            one = getattr(value, name)
            if one is not default and one != default:
                found[name] = one if type(one) in _PLAIN else encode(one)
        return found

    return run


_REQUIRED = object()


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _REQUIRED


def decode(kind: type[_T], value: Any) -> _T:
    """The frozen value of a JSON value.

    Raises:
        WireError: It is not of that shape.
    """
    try:
        return cast(_T, _decoder(cast(Any, kind))(value))
    except RecursionError as error:
        raise WireError("a value is nested too deeply") from error


@cache
def _decoder(kind: Any) -> _Decoder:
    """How a type is read; made once for each type."""
    if kind is Any or kind is object:
        return _as_is
    if isinstance(kind, typing.NewType):
        return _decoder(kind.__supertype__)
    if kind in _PLAIN:
        return _plain(kind)
    if kind is datetime:
        return _datetime
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enumerated(kind)
    if dataclasses.is_dataclass(kind):
        return _Record(cast("type[Any]", kind))
    return _generic(kind)


def _generic(kind: Any) -> _Decoder:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*arguments)
    raise TypeError(f"no JSON form is known for {kind!r}")


def _as_is(value: Any) -> Any:
    return value


def _plain(kind: type) -> _Decoder:
    def run(value: Any) -> Any:
        # JSON has one kind of number: 1 is a float where one is wanted, but a truth value never is a number
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise WireError(f"{value!r:.40} is not {kind.__name__}")

    return run


def _datetime(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise WireError(f"{value!r:.40} is not a time") from error
    if found.tzinfo is None:
        raise WireError(f"{value!r:.40} has no time zone")
    return found


def _enumerated(kind: type[enum.Enum]) -> _Decoder:
    known = {member.value: member for member in kind}

    def run(value: Any) -> Any:
        try:
            return known[value]
        except (KeyError, TypeError) as error:
            raise WireError(f"{value!r:.40} is none of {', '.join(map(str, known))}") from error

    return run


def _union(arguments: tuple[Any, ...]) -> _Decoder:
    inner = [one for one in arguments if one is not type(None)]
    if len(inner) != 1:
        raise TypeError("a union of two kinds of values has no JSON form here")
    read, optional = _decoder(inner[0]), len(inner) < len(arguments)

    def run(value: Any) -> Any:
        return None if value is None and optional else read(value)

    return run


def _tuple(arguments: tuple[Any, ...]) -> _Decoder:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        read = _decoder(arguments[0])

        def run_many(value: Any) -> Any:
            if not isinstance(value, list):
                raise WireError(f"{value!r:.40} is not a list")
            return tuple([read(one) for one in value])

        return run_many
    readers = [_decoder(one) for one in arguments]

    def run_each(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(readers):
            raise WireError(f"{value!r:.40} is not a list of {len(readers)}")
        return tuple([read(one) for read, one in zip(readers, value, strict=True)])

    return run_each


def _mapping(key: Any, inner: Any) -> _Decoder:
    read = _decoder(inner)
    number = key is int
    read_key = _decoder(key) if isinstance(key, type) and issubclass(key, enum.Enum) else _as_is

    def run(value: Any) -> Any:
        if not isinstance(value, dict):
            raise WireError(f"{value!r:.40} is not an object")
        if not number:
            return {read_key(name): read(one) for name, one in value.items()}
        try:
            return {int(name): read(one) for name, one in value.items()}
        except ValueError as error:
            raise WireError("a key is not a number") from error

    return run


class _Record:
    """Reads one kind of frozen dataclass."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        self._readers: dict[str, _Decoder] | None = None
        self._required = frozenset(field.name for field in dataclasses.fields(kind) if _default(field) is _REQUIRED)

    def _fields(self) -> dict[str, _Decoder]:
        # at the first value, not before: an assertion has assertions as members
        hints = typing.get_type_hints(self._kind)
        return {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(self._kind)}

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise WireError(f"{value!r:.40} is not an object")
        readers = self._readers
        if readers is None:
            readers = self._readers = self._fields()
        found = {}
        for name, one in value.items():
            read = readers.get(name)
            if read is None:
                raise WireError(f"{self._kind.__name__} has no field {name[:40]!r}")
            found[name] = read(one)
        missing = self._required - found.keys()
        if missing:
            raise WireError(f"{self._kind.__name__} lacks {', '.join(sorted(missing))}")
        try:
            return self._kind(**found)
        except ValueError as error:
            raise WireError(str(error)) from error
