"""What every section of a project file is made of: a strict pydantic base and the quantities people write in YAML.

Only code at the edge imports this; the data plane does not (it knows no pydantic).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fairway.units import Parts, parse_duration, parse_name, parse_share

_SIZE = re.compile(r"^(\d+)\s*(B|KB|MB|GB|KiB|MiB|GiB)?$")
_SIZE_FACTORS = {
    None: 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_POINTS = re.compile(r"^(\d+(?:\.\d+)?)\s*(pt|%)$")
_ABOVE = re.compile(r"^\+\s*(\d+(?:\.\d+)?)\s*%$")
SECRET_REFERENCE = re.compile(r"^(env|file|sops|vault|k8s|aws-sm):[^\s]+$")


class MisplacedError(ValueError):
    """What a section says of one of its keys once it knows the others; told where that key stands.

    Attributes:
        at: Keys and indices from the section on; told of the nearest part of it that the file has.
    """

    def __init__(self, message: str, *at: int | str) -> None:
        """Keep the place."""
        super().__init__(message)
        self.at = at


class Section(BaseModel):
    """A mapping of a project file: unknown keys are refused, numbers are finite, the value never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def _parse_size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a size such as 64KiB or 16MiB")
    match = _SIZE.match(str(value).strip())
    if not match or len(match.group(1)) > 15:
        raise ValueError(f"{value!r} is not a size; write for example 65536, 64KiB or 16MiB")
    return int(match.group(1)) * _SIZE_FACTORS[match.group(2)]


def _parse_command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            parts = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"the command line cannot be split into words: {error}") from error
    elif isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        parts = list(value)
    else:
        raise ValueError("expected a command: one line of text, or a list of words")
    if not parts or not parts[0].strip():
        raise ValueError("the command is empty")
    if any("\0" in part for part in parts):
        raise ValueError("a command cannot contain a NUL character")
    return tuple(parts)


def _parse_points(value: object) -> float:
    """A difference of two rates: ``5pt`` and ``0.05`` are five points."""
    if isinstance(value, str):
        match = _POINTS.match(value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a margin; write points such as 5pt, or a fraction such as 0.05")
        points = float(match.group(1)) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool):
        points = float(value)
    else:
        raise ValueError("expected a margin in points such as 5pt, or a fraction such as 0.05")
    if not 0 < points < 1:
        raise ValueError(f"a margin must be above 0 and below 100 points, got {value!r}")
    return points


def _parse_ratio(value: object) -> float:
    """A ratio to stable: ``+10%`` and ``1.1`` are the same."""
    if isinstance(value, str):
        match = _ABOVE.match(value.strip())
        if not match:
            raise ValueError(f"{value!r} is not a margin; write for example +10%, or a ratio such as 1.1")
        ratio = 1 + float(match.group(1)) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool):
        ratio = float(value)
    else:
        raise ValueError("expected a margin such as +10%, or a ratio such as 1.1")
    if not 1 <= ratio <= 100:
        raise ValueError(f"a ratio must be between 1 (+0%) and 100, got {value!r}")
    return ratio


def _duration(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise ValueError("expected a duration such as 30s, 10m or 1h30m")
    if isinstance(value, str) and len(value) > 64:
        raise ValueError("expected a duration such as 30s, 10m or 1h30m")
    seconds = parse_duration(value)
    if seconds > 366 * 86400:
        raise ValueError(f"{value!r} is longer than a year")
    return seconds


def _share(value: object) -> Parts:
    if not isinstance(value, str | int | float):
        raise ValueError("expected a share such as 5%")
    return parse_share(value)


def _name(text: str) -> str:
    return parse_name(text)


def _relative_path(text: str) -> str:
    path = PurePosixPath(text)
    if not text or "\0" in text or "\\" in text or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{text!r} must be a path inside the project, written with / and without ..")
    return text


def _http_path(text: str) -> str:
    if not text.startswith("/") or any(ord(char) <= 32 or ord(char) == 127 for char in text):
        raise ValueError(f"{text!r} is not a path of the service; it must start with / and hold no spaces")
    return text


def _reference(text: str) -> str:
    if not SECRET_REFERENCE.match(text):
        # The value itself is never shown: it may be the secret.
        raise ValueError("a secret is given by reference, for example env:OPENAI_API_KEY, never by its value")
    return text


def _variables(values: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in values.items():
        if not _VARIABLE.match(name):
            raise ValueError(f"{name!r} is not a name of an environment variable")
        if "\0" in value:
            raise ValueError(f"the value of {name} contains a NUL character")
    return values


def _scalar_text(value: object) -> object:
    """Environment variables are text; numbers and booleans people write without quotes become what a shell says."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Positive = Annotated[int, Field(strict=True, ge=1, le=2**53)]
Number = Annotated[float, Field(strict=True)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
Flag = Annotated[bool, Field(strict=True)]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
"""0 takes a free port."""
Name = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9-]{0,62}$"), AfterValidator(_name)]
ProjectPath = Annotated[str, Field(strict=True), AfterValidator(_relative_path)]
HttpPath = Annotated[str, Field(strict=True), AfterValidator(_http_path)]
SecretReference = Annotated[str, Field(strict=True), AfterValidator(_reference)]

_QUANTITY: dict[str, Any] = {"type": ["string", "number"]}
Duration = Annotated[
    float, BeforeValidator(_duration), WithJsonSchema({**_QUANTITY, "description": "a duration: 30s, 10m, 1h30m"})
]
"""Seconds."""
Share = Annotated[int, BeforeValidator(_share), WithJsonSchema({**_QUANTITY, "description": "a share: 5% or 0.05"})]
"""Parts of 100,000."""
Bytes = Annotated[
    int, BeforeValidator(_parse_size), WithJsonSchema({"type": ["string", "integer"], "description": "64KiB, 16MiB"})
]
Points = Annotated[
    float, BeforeValidator(_parse_points), WithJsonSchema({**_QUANTITY, "description": "points: 5pt or 0.05"})
]
"""A difference of rates as a fraction: 5 points are 0.05."""
Ratio = Annotated[
    float, BeforeValidator(_parse_ratio), WithJsonSchema({**_QUANTITY, "description": "above stable: +10% or 1.1"})
]
Command = Annotated[
    tuple[str, ...],
    BeforeValidator(_parse_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""Words of a command; never given to a shell."""
Variables = Annotated[
    Mapping[str, Annotated[str, BeforeValidator(_scalar_text)]],
    AfterValidator(_variables),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
]
"""Environment variables of a process."""
